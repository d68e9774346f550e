//! `lockkeeper completions` and `lockkeeper man`: the command line, told to shells and to `man`.

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use lockkeeper_model::words::shown;

use super::exit::{Exit, Trouble};
use super::screen::Screen;

/// For which shell.
#[derive(Debug, Args)]
pub struct CompletionsArguments {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Which page.
#[derive(Debug, Args)]
pub struct ManArguments {
    /// A command, `locks` or `audit list` for example [default: the program as a whole].
    command: Vec<String>,
}

impl CompletionsArguments {
    pub(super) fn run(self, mut program: Command, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        let name = program.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, name, &mut script);
        screen.raw(&script)?;
        screen.say("")?;
        Ok(Exit::Done)
    }
}

impl ManArguments {
    pub(super) fn run(self, mut program: Command, screen: &mut Screen<'_>) -> Result<Exit, Trouble> {
        program.build();
        let mut chosen = &program;
        for name in &self.command {
            chosen = chosen.find_subcommand(name).ok_or_else(|| {
                let known: Vec<&str> = chosen.get_subcommands().map(Command::get_name).collect();
                let text = format!("`{}` has no command `{}`", chosen.get_name(), shown(name));
                let trouble = Trouble::new(Exit::Usage, text);
                if known.is_empty() { trouble } else { trouble.hint(format!("there are: {}", known.join(", "))) }
            })?;
        }
        let mut page = Vec::new();
        Man::new(chosen.clone()).render(&mut page)?;
        screen.raw(&page)?;
        screen.say("")?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::super::screen::Look;
    use super::*;
    use crate::config::command_line;

    fn page(command: &[&str]) -> Result<String, Trouble> {
        let mut out = Vec::new();
        let command = command.iter().map(|&name| name.to_owned()).collect();
        ManArguments { command }.run(command_line(), &mut Screen::new(&mut out, Look::PLAIN))?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_command_has_a_page_and_a_wrong_one_is_told_which_there_are() {
        let whole = page(&[]).unwrap();
        assert!(whole.contains(".TH lockkeeper 1") && whole.contains("lockkeeper\\-why(1)"), "{whole}");
        let release = page(&["release"]).unwrap();
        assert!(release.contains(".TH lockkeeper-release 1") && release.contains("changed hands"), "{release}");
        assert!(page(&["audit", "list"]).unwrap().contains("newest first"));
        let refused = page(&["nothing"]).unwrap_err();
        assert!(refused.exit() == Exit::Usage && refused.to_string().contains("there are: serve, "), "{refused}");
    }

    #[test]
    fn the_shells_learn_of_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut out = Vec::new();
            let mut screen = Screen::new(&mut out, Look::PLAIN);
            CompletionsArguments { shell }.run(command_line(), &mut screen).unwrap();
            let script = String::from_utf8(out).unwrap();
            for command in command_line().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }
}
