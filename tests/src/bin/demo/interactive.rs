//! A person types the key and fetches the page.

use ::tests::scene::PAGE;
use qemu::terminal::{Left, join};

use crate::failure::Failure;
use crate::say;
use crate::stage::Stage;

/// Joins the terminal to the machine until the person leaves or the machine ends.
///
/// # Errors
/// [`Failure`], naming the step.
pub fn run(stage: &mut Stage) -> Result<(), Failure> {
    say(&instructions(&stage.key, &stage.curl.command_line()));
    let (appliance, _) = stage.boot()?;
    let left = join(appliance.console()).map_err(Failure::of("join the terminal"))?;
    match left {
        Left::ByMachine => say("\r\nThe machine is off.\n"),
        Left::ByKey => {
            say("\r\nShutting the machine down.\n");
            let ended = appliance.power_off();
            ended.map_err(Failure::of("shut down"))?;
        }
    }
    Ok(())
}

fn instructions(key: &str, command: &str) -> String {
    format!(
        "
A virtual machine boots the image; its serial console follows below. Beside it run, without any
privilege: a virtual network with DHCP, DNS and NTP, a private web server in it, and a service edge
on this computer. {PAGE} is reachable from the VM only.

1. When the console asks for the provisioning key, type or paste (one use, 24 hours):

     {key}

2. When it says \"Connected to\", be a user in another terminal. The service edge takes the request
   as an HTTP proxy and hands it to the VM, which fetches the page:

     {command}

   With --proxytunnel in addition, by HTTP CONNECT, as browsers do for https.

3. Ctrl-] leaves and shuts the VM down.

The console's first line takes some seconds.

"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instructions_name_the_key_the_command_and_the_way_out() {
        let text = instructions("brdtc-eufvc", "curl --proxy X");
        for part in [
            "     brdtc-eufvc\n",
            "     curl --proxy X\n",
            "Ctrl-]",
            PAGE,
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(text.lines().all(|line| line.len() <= 100));
    }
}
