//! nginx: two stream proxies with TLS between them.

use crate::load::door::Door;
use crate::program::Program;
use crate::scene::{Running, Scene, TARGET, TUNNEL_INWARD, USERS};
use crate::trouble::Trouble;

/// Starts the pair.
pub fn start(scene: &Scene) -> Result<Running, Trouble> {
    let made = scene.certificate()?;
    let (certificate, key) = (made.certificate.display(), made.key.display());
    let connector = nginx(
        scene,
        "connector",
        &format!(
            "listen {TUNNEL_INWARD} ssl backlog=4096; proxy_pass {TARGET};
             ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;
             ssl_session_cache shared:tls:10m; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;"
        ),
    )?;
    let edge = nginx(
        scene,
        "edge",
        &format!(
            "listen {USERS} backlog=4096; proxy_pass {TUNNEL_INWARD}; proxy_ssl on;
             proxy_ssl_verify on; proxy_ssl_name bench; proxy_ssl_trusted_certificate {certificate};
             proxy_ssl_protocols TLSv1.3; proxy_ssl_session_reuse on;"
        ),
    )?;
    Ok(Running::new(Door::port(USERS), edge, connector))
}

fn nginx(scene: &Scene, name: &str, server: &str) -> Result<Program, Trouble> {
    let mut command = scene.debian("usr/sbin/nginx")?;
    let module = "usr/lib/nginx/modules/ngx_stream_module.so";
    let module = scene
        .debian_path(module)
        .ok_or_else(|| Trouble::Missing(format!("/{module} is not on this machine")))?;
    let pid_file = scene.file(&format!("nginx-{name}.pid"));
    let config = format!(
        "load_module {}; daemon off; user root; pid {}; error_log stderr error;
         worker_processes auto; worker_rlimit_nofile 65536; events {{ worker_connections 32768; }}
         stream {{ server {{ {server} }} }}",
        module.display(),
        pid_file.display()
    );
    let config = scene.write(&format!("nginx-{name}.conf"), config)?;
    command.args(["-e", "stderr", "-c"]).arg(config);
    scene.start(&format!("nginx-{name}"), command)
}
