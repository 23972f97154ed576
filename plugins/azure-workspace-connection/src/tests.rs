//! Against documents as they are recorded of the real service.

mod list;
mod read;
mod refusal;
mod write;

use strongroom_plugin::http::Response;
use strongroom_plugin::{Context, Failure, Kind, Provider, Reference, Secret};

use super::WorkspaceConnection;

const AOAI: &str = r#"{"tags":null,"location":null,"id":"/subscriptions/SUB/resourceGroups/RG/providers/Microsoft.MachineLearningServices/workspaces/WS/connections/aoai","name":"aoai","type":"Microsoft.MachineLearningServices/workspaces/connections","properties":{"authType":"ApiKey","credentials":{"key":"s3cret-key"},"group":"AzureAI","category":"AzureOpenAI","expiryTime":null,"target":"https://x.openai.azure.com/","createdByWorkspaceArmId":"/subscriptions/SUB/resourceGroups/RG/providers/Microsoft.MachineLearningServices/workspaces/WS","useWorkspaceManagedIdentity":false,"isSharedToAll":false,"sharedUserList":[],"metadata":{"ApiType":"azure","ApiVersion":"2023-07-01-preview","ResourceId":"/subscriptions/SUB"}},"systemData":{"createdAt":"2024-03-22T14:56:56.0857069Z","createdBy":"user@example.com","createdByType":"User","lastModifiedAt":"2024-03-22T14:56:56.0857069Z","lastModifiedBy":"user@example.com","lastModifiedByType":"User"}}"#;
const CUSTOM: &str = r#"{"name":"multi","properties":{"authType":"CustomKeys","category":"CustomKeys","target":"_","credentials":{"keys":{"OPENAI_API_KEY":"s3cret-1","SPEECH_KEY":"s3cret-2","gone":null,"empty":""}},"metadata":{"OPENAI_API_VERSION":"2024-02-01","n":7},"expiryTime":"2030-01-01T00:00:00.0000000Z","peStatus":"NotApplicable","newMember":{"a":[1,null]}}}"#;
const NO_CONNECTION: &str = r#"{"error":{"code":"UserError","severity":null,"message":"Connection aoai can't be found in this workspace","messageFormat":"...","messageParameters":{},"referenceCode":null,"detailsUri":null,"target":null,"details":[],"innerError":{"code":"NotFound","innerError":null},"debugInfo":{"stackTrace":"at X"}},"correlation":{"operation":"o","request":"r"},"environment":"eastus","location":"eastus","time":"...","componentName":"account-rp"}"#;

const BASE: &str = "https://management.azure.com/subscriptions/0b1f6471-1bf0-4dda-aec3-111122223333/resourceGroups/RG/providers/Microsoft.MachineLearningServices/workspaces/WS1/connections";
const VERSION: &str = "?api-version=2024-04-01";

fn context() -> Context {
    config("")
}

fn config(more: &str) -> Context {
    Context::new(format!(
        r#"{{"subscription":"0b1f6471-1bf0-4dda-aec3-111122223333","resource_group":"RG","workspace":"WS1"{more}}}"#
    ))
}

fn at(path: &str) -> Reference {
    Reference::new(path.split('/'))
}

fn json(status: u16, body: &str) -> Response {
    Response::new(status, [("content-type", "application/json; charset=utf-8")], body)
}

fn resolve(path: &str) -> Result<Secret, Failure> {
    WorkspaceConnection::resolve(&context(), &at(path))
}

/// Kind and code.
fn told<T>(answer: Result<T, Failure>) -> (Kind, String) {
    match answer {
        Ok(_) => panic!("it was to fail"),
        Err(failure) => (failure.kind, failure.code),
    }
}
