//! What a process that is neither container nor unit is called. Pure.

/// The name an operator would expect.
///
/// It is the command name (`comm`), with these exceptions:
/// - `comm` holds 15 bytes at most; a longer file name that begins with it is
///   taken instead;
/// - an interpreter says nothing: `python3 /srv/app.py` is `app.py`,
///   `python3 -m http.server` is `http.server`, `java -jar shop.jar` is
///   `shop.jar`, `node server.js` is `server.js` (Node calls its main thread
///   `MainThread`), and `ruby -e …` stays `ruby`;
/// - a program that writes a title over its arguments (`puma 6.0 (tcp://…)`) is
///   the title's first word, if it is run by an interpreter.
#[must_use]
pub(super) fn command_name(comm: &str, exe: Option<&str>, args: &[String]) -> String {
    let exe = exe.map(|exe| base(exe.strip_suffix(" (deleted)").unwrap_or(exe)));
    let arg0 = args.first().map(|arg| base(arg));
    let interpreter = [exe, arg0, Some(comm)]
        .into_iter()
        .flatten()
        .find_map(|name| Interpreter::of(name).map(|kind| (kind, name)));
    if let Some((kind, interpreter)) = interpreter {
        // A script that was run by its own name has it as `comm`; arguments
        // still say it in full.
        let name = match args {
            [title] => title
                .split_whitespace()
                .next()
                .map(|word| base(word.trim_matches([':', '-']))),
            [_, rest @ ..] => kind.script(rest),
            [] => None,
        };
        return match name {
            Some(name) if Interpreter::of(name).is_none() => name,
            _ if comm != "MainThread" && !comm.is_empty() => comm,
            _ => interpreter,
        }
        .to_owned();
    }
    if comm.len() >= MAX_COMM
        && let Some(full) = [arg0, exe]
            .into_iter()
            .flatten()
            .find(|name| name.starts_with(comm))
    {
        return full.to_owned();
    }
    comm.to_owned()
}

/// Bytes of `comm` without its zero (`TASK_COMM_LEN`).
const MAX_COMM: usize = 15;

/// Programs that run a program that is named by their arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interpreter {
    Python,
    Node,
    Ruby,
    Perl,
    Php,
    Java,
    Shell,
    /// The first argument that is no option.
    Plain,
    /// The same, behind `run`.
    Run,
}

impl Interpreter {
    /// Of a file name with or without a version: `python3.11`, `perl5.36.0`.
    fn of(name: &str) -> Option<Self> {
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
        Some(match name {
            "python" | "pypy" => Self::Python,
            "node" | "nodejs" => Self::Node,
            "ruby" | "jruby" | "truffleruby" => Self::Ruby,
            "perl" => Self::Perl,
            "php" => Self::Php,
            "java" => Self::Java,
            "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" | "fish" => Self::Shell,
            "lua" | "luajit" | "tclsh" | "guile" | "Rscript" | "mono" | "dotnet" => Self::Plain,
            "deno" | "bun" => Self::Run,
            _ => return None,
        })
    }

    /// Options whose value is the argument behind them.
    const fn valued(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["-X", "-W", "--check-hash-based-pycs"],
            Self::Node => &[
                "-r",
                "--require",
                "--import",
                "--loader",
                "--experimental-loader",
                "-C",
                "--conditions",
                "--title",
            ],
            Self::Ruby => &["-I", "-r", "-C", "-E"],
            Self::Perl => &["-I"],
            Self::Php => &["-d", "-c", "-t", "-z"],
            Self::Java => &[
                "-cp",
                "-classpath",
                "--class-path",
                "-p",
                "--module-path",
                "--add-modules",
                "--add-opens",
                "--add-exports",
                "--add-reads",
                "--upgrade-module-path",
            ],
            Self::Shell => &["-o", "-O", "--rcfile", "--init-file"],
            Self::Plain | Self::Run => &[],
        }
    }

    /// Options that bring the program's text: there is no file.
    const fn inline(self) -> &'static [&'static str] {
        match self {
            Self::Python | Self::Shell => &["-c"],
            Self::Node => &["-e", "--eval", "-p", "--print", "-pe"],
            Self::Ruby => &["-e"],
            Self::Perl => &["-e", "-E"],
            Self::Php => &["-r", "-S"],
            Self::Plain => &["-e"],
            Self::Java | Self::Run => &[],
        }
    }

    /// Options whose value names the program.
    const fn naming(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["-m"],
            Self::Java => &["-jar", "-m", "--module"],
            Self::Php => &["-f"],
            _ => &[],
        }
    }

    /// The program's name among the arguments.
    fn script(self, args: &[String]) -> Option<&str> {
        let mut args = args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            if self.naming().contains(&arg) {
                return args.next().map(base);
            } else if self.inline().contains(&arg) {
                return None;
            } else if self.valued().contains(&arg) {
                args.next();
            } else if arg == "--" {
                return args.next().map(base);
            } else if !arg.starts_with('-') && (self != Self::Run || arg != "run") {
                let name = base(arg);
                return match name {
                    "__main__.py" => Some(base(arg.strip_suffix(name).unwrap_or(arg))),
                    _ => Some(name),
                };
            }
        }
        None
    }
}

/// The last component that is not empty.
fn base(path: &str) -> &str {
    path.trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (comm, exe, cmdline, expected) in [
            ("nginx", "/usr/sbin/nginx", "nginx: worker process", "nginx"),
            ("curl", "/usr/bin/curl", "curl|http://x/", "curl"),
            (
                "envoy",
                "",
                "/usr/local/bin/envoy|-c|/etc/envoy.yaml",
                "envoy",
            ),
            (
                "a-long-named-se",
                "/opt/a-long-named-server",
                "./a-long-named-server",
                "a-long-named-server",
            ),
            (
                "a-long-named-se",
                "/opt/a-long-named-server (deleted)",
                "",
                "a-long-named-server",
            ),
            ("a-long-named-se", "/opt/other", "other", "a-long-named-se"),
            ("wget", "/bin/busybox", "wget|http://x", "wget"),
            (
                "python3",
                "/usr/bin/python3.11",
                "python3|/srv/app.py|--port|80",
                "app.py",
            ),
            (
                "python3",
                "/usr/bin/python3.11",
                "python3|-u|-X|dev|-W|ignore|app.py",
                "app.py",
            ),
            (
                "python3",
                "/usr/bin/python3.11",
                "python3|-m|http.server|8000",
                "http.server",
            ),
            (
                "python3",
                "/usr/bin/python3.11",
                "python3|-c|import x",
                "python3",
            ),
            ("python3", "/usr/bin/python3.11", "python3", "python3"),
            ("python3", "", "python3|-c|import x", "python3"),
            (
                "python3",
                "/usr/bin/python3.11",
                "python3|/srv/shop/__main__.py",
                "shop",
            ),
            (
                "python3",
                "/usr/bin/python3.11",
                "python3|/srv/shop/",
                "shop",
            ),
            (
                "gunicorn",
                "/usr/bin/python3.11",
                "/usr/bin/python3|/usr/bin/gunicorn|app:app",
                "gunicorn",
            ),
            (
                "gunicorn",
                "/usr/bin/python3.11",
                "gunicorn: worker [app]",
                "gunicorn",
            ),
            ("uvicorn", "/usr/bin/python3.11", "", "uvicorn"),
            ("MainThread", "/usr/bin/node", "node|server.js", "server.js"),
            ("MainThread", "/usr/bin/node", "node|-e|x", "node"),
            (
                "node",
                "/usr/bin/node",
                "node|--max-old-space-size=9|-r|dotenv/config|/app/dist/index.js",
                "index.js",
            ),
            ("node", "/usr/bin/node", "node|/usr/bin/npm|start", "npm"),
            (
                "java",
                "/usr/lib/jvm/bin/java",
                "java|-Xmx1g|-jar|/opt/shop.jar|--x",
                "shop.jar",
            ),
            (
                "java",
                "/usr/lib/jvm/bin/java",
                "java|-cp|a.jar:b.jar|com.acme.Main|x",
                "com.acme.Main",
            ),
            (
                "java",
                "/usr/lib/jvm/bin/java",
                "java|-p|mods|-m|shop/com.acme.Main",
                "com.acme.Main",
            ),
            (
                "ruby",
                "/usr/bin/ruby3.1",
                "puma 6.0 (tcp://0.0.0.0:80) [shop]",
                "puma",
            ),
            ("ruby", "/usr/bin/ruby3.1", "ruby|-I|lib|bin/shop", "shop"),
            ("perl", "/usr/bin/perl", "perl|-T|serve.pl", "serve.pl"),
            ("php", "/usr/bin/php8.2", "php|-S|0.0.0.0:80", "php"),
            ("php", "/usr/bin/php8.2", "php|-d|x=1|-f|a.php", "a.php"),
            ("bash", "/usr/bin/bash", "bash|-e|/srv/run.sh", "run.sh"),
            ("bash", "/usr/bin/bash", "-bash", "bash"),
            ("bash", "/usr/bin/bash", "bash|-c|curl x", "bash"),
            (
                "dotnet",
                "/usr/bin/dotnet",
                "dotnet|/app/Shop.dll",
                "Shop.dll",
            ),
            (
                "deno",
                "/usr/bin/deno",
                "deno|run|--allow-net|main.ts",
                "main.ts",
            ),
            ("", "", "", ""),
        ] {
            let args: Vec<String> = cmdline
                .split('|')
                .filter(|arg| !arg.is_empty())
                .map(str::to_owned)
                .collect();
            let exe = Some(exe).filter(|exe| !exe.is_empty());
            assert_eq!(command_name(comm, exe, &args), expected, "{comm} {cmdline}");
        }
    }
}
