//! The one thing that is read of an online endpoint's file: `enforce_access_to_default_secret_stores`.
//!
//! Azure ML has it under `properties` ("secret injection in online endpoints"); at the top it is read as well. All else
//! in the file is ignored.

use super::{Format, Pair, Problems, Raw, json, toml, yaml};
use crate::{Failure, Kind, Text};

/// The setting.
pub const SETTING: &str = "enforce_access_to_default_secret_stores";

/// The map that it stands in.
const PROPERTIES: &str = "properties";

/// Whether the endpoint's file `text` says that the person's own permission is verified too. Absent is `disabled`.
///
/// # Errors
/// `document.*` for what is no such file; `endpoint.setting` for a value that is neither `enabled` nor `disabled`, or
/// one that stands twice; `endpoint.deployment` for a deployment's file, of which it would mean nothing.
pub fn enforces(text: &str, format: Format, origin: Text) -> Result<bool, Vec<Failure>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut problems = Problems::within(PROPERTIES, text, origin);
    let pairs = match format {
        Format::Yaml => yaml::read(text, &mut problems),
        Format::Json => json::read(text, &mut problems),
        Format::Toml => toml::read(text, &mut problems),
        Format::Dotenv => {
            let message = "an endpoint's file is YAML or JSON: dotenv has variables only";
            return Err(vec![Failure::new(Kind::InvalidConfig, "document.format", message)]);
        }
    };
    let pairs = pairs.unwrap_or_default();
    if let Some(pair) = pairs.iter().find(|pair| pair.name == "endpoint_name") {
        let help = "name the endpoint's own file, the one of `az ml online-endpoint create -f`";
        problems.name(pair, "endpoint.deployment", "this is a deployment's file, not an endpoint's", Some(help));
    }
    let inside = pairs.iter().filter(|pair| pair.name == PROPERTIES).flat_map(|pair| match &pair.value {
        Raw::Map(inside) => inside.as_slice(),
        _ => &[],
    });
    let mut settings: Vec<&Pair<'_>> = pairs.iter().chain(inside).filter(|pair| pair.name == SETTING).collect();
    let setting = settings.pop();
    if let Some(pair) = setting
        && !settings.is_empty()
    {
        problems.name(pair, "endpoint.setting", "this stands here twice", None);
    }
    let mut enforced = false;
    if let Some(pair) = setting {
        let word = match &pair.value {
            Raw::Scalar(text, _) => text.to_ascii_lowercase(),
            _ => String::new(),
        };
        match word.as_str() {
            "enabled" => enforced = true,
            "disabled" => {}
            // What is not understood must not count as "off".
            _ => problems.name(pair, "endpoint.setting", "this is neither `enabled` nor `disabled`", None),
        }
    }
    problems.finish().map(|_| enforced)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enforced(text: &str, format: Format) -> Result<bool, &'static str> {
        enforces(text, format, Text::new("endpoint.yaml")).map_err(|failures| match failures[0].code() {
            "endpoint.setting" => "setting",
            "endpoint.deployment" => "deployment",
            _ => "document",
        })
    }

    #[test]
    fn only_enabled_is_enabled_and_nothing_else_is_off() {
        let head = "$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json\nname: e\nauth_mode: key\n";
        for (text, expected) in [
            ("", Ok(false)),
            ("properties: {}\n", Ok(false)),
            ("properties:\n  other: enabled\n", Ok(false)),
            ("properties:\n  enforce_access_to_default_secret_stores: enabled  # default: disabled\n", Ok(true)),
            ("properties:\n  enforce_access_to_default_secret_stores: Enabled\n", Ok(true)),
            ("properties:\n  enforce_access_to_default_secret_stores: disabled\n", Ok(false)),
            ("enforce_access_to_default_secret_stores: enabled\n", Ok(true)),
            ("properties:\n  enforce_access_to_default_secret_stores: true\n", Err("setting")),
            ("properties:\n  enforce_access_to_default_secret_stores:\n", Err("setting")),
            ("properties:\n  enforce_access_to_default_secret_stores: [enabled]\n", Err("setting")),
            (
                "enforce_access_to_default_secret_stores: disabled\nproperties: {enforce_access_to_default_secret_stores: enabled}\n",
                Err("setting"),
            ),
            ("endpoint_name: e\n", Err("deployment")),
            ("tags:\n  enforce_access_to_default_secret_stores: enabled\n", Ok(false)),
            (": : :\n- x\n", Err("document")),
        ] {
            assert_eq!(enforced(&format!("{head}{text}"), Format::Yaml), expected, "{text}");
        }
        let json = r#"{"name":"e","properties":{"enforce_access_to_default_secret_stores":"enabled"}}"#;
        assert_eq!(enforced(json, Format::Json), Ok(true));
        assert_eq!(enforced("A=b\n", Format::Dotenv), Err("document"));
    }
}
