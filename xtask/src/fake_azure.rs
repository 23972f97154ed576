//! Starts the Azure of tests by hand, on ports that stay the same, until it is interrupted.

use crate::shell::{Done, Project};

/// Ports that nothing common uses: what is written down once stays right.
const PORTS: [&str; 6] = ["--https-port", "8643", "--http-port", "8680", "--proxy-port", "8688"];

/// Builds and starts it, and says what to do with it.
pub fn fake_azure(project: &Project) -> Done {
    let build = ["build", "--locked", "--release", "--package", "strongroom-fake-azure", "--bin", "fake-azure"];
    project.cargo(&build).run()?;
    let folder = project.target.join("fake-azure");
    println!(
        "
An Azure on this machine: https on 127.0.0.1:{}, identity endpoints and control on http://127.0.0.1:{}, and a proxy
on http://127.0.0.1:{} that leads every name there. To let a program reach it, in another shell:

  strongroom --config {}/strongroom.toml run -f examples/azure/deployment.yaml -- env

  . {}/environment    # for Microsoft's own clients: proxy, CA, tenant and service principal

Then, for example:
  curl https://mykeyvault.vault.azure.net/secrets/secret1?api-version=7.4    # 401, with the challenge
  curl http://127.0.0.1:{}/control                                        # what there is
  curl http://127.0.0.1:{}/control/requests                               # what was asked

All of it is in tests/fake-azure/README.md. It ends with Ctrl-C.
",
        PORTS[1],
        PORTS[3],
        PORTS[5],
        folder.display(),
        folder.display(),
        PORTS[3],
        PORTS[3]
    );
    project.program(project.target.join("release/fake-azure"), &PORTS).arg(&folder, "--folder").run()
}
