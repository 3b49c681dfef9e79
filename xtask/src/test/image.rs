//! What a builder makes of the Dockerfile: its own words, carried out in a
//! clone and with the files of a release.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::{
    cache::Cache,
    dist,
    scratch::ScratchDir,
    setup::builder::{self, Builder},
    sh,
    workspace::Workspace,
};

/// How the Dockerfile says that it is built.
const SAID: &str = "#     docker build ";
/// For one step of the builder's.
const LIMIT: Duration = Duration::from_secs(120);
/// When all of an image is said to have been made.
const TIME: &str = "1700000000";

/// The Dockerfile makes the image of `rootfs`, and of nothing else, from a clone
/// as well as from the release that is beside it; and what is in it runs.
///
/// # Errors
/// If it does not.
pub(super) fn check(workspace: &Workspace, rootfs: &Path) -> Result<()> {
    let builder = builder::find(&Cache::open()?)?;
    let yard = Yard::new(builder)?;
    let dockerfile = fs::read_to_string(workspace.root.join(DOCKERFILE))?;
    let said = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix(SAID));
    let [of_clone, of_release] = said.collect::<Vec<_>>()[..] else {
        bail!("the Dockerfile does not say how it is built from a clone and from a release");
    };

    let clone = yard.folder("clone")?;
    for file in [DOCKERFILE, ".dockerignore", "README.md"] {
        copy(&workspace.root.join(file), &clone.join(file))?;
    }
    copy(rootfs, &clone.join(dist::IN_A_CLONE))?;
    let image = yard.build("clone", &clone, of_clone)?;
    verify(&image, rootfs).context("the image from a clone")?;

    let release = yard.folder("release")?;
    copy(rootfs, &release.join("rootfs.tar"))?;
    // Those of other versions may lie there, too.
    let archive = rootfs.with_file_name(format!("{}.tar.gz", dist::release_name()));
    let packed = fs::File::open(&archive);
    let packed = packed.with_context(|| format!("opening {}", archive.display()))?;
    tar::Archive::new(GzDecoder::new(packed)).unpack(&release)?;
    let again = yard.build("release", &release, of_release)?;
    // The same bytes, whatever it was built from; how, an image's history says.
    let (one, other) = (&image.manifest["layers"], &again.manifest["layers"]);
    ensure!(
        one == other,
        "from a release it is another: {one:#} and {other:#}"
    );
    ensure!(
        image.config["config"] == again.config["config"],
        "from a release it says something else: {:#}",
        again.config
    );
    yard.run(&image)?;
    yard.leaves_nothing()
}

const DOCKERFILE: &str = "deploy/Dockerfile";

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("no folder")?)?;
    let done = fs::copy(from, to);
    done.with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Where images are made, and nothing of it stays.
struct Yard {
    builder: Builder,
    scratch: ScratchDir,
}

/// An image, as the Open Container Initiative describes it.
#[derive(Debug)]
struct Image {
    /// What the builder calls it.
    name: String,
    manifest: Value,
    config: Value,
    /// Its layers, which are archives.
    layers: Vec<Vec<u8>>,
}

impl Yard {
    fn new(builder: Builder) -> Result<Self> {
        let scratch = ScratchDir::new()?;
        let yard = Self { builder, scratch };
        for folder in ["root", "run", "tmp"] {
            yard.folder(folder)?;
        }
        // It asks no registry, and there is no signature to look for.
        let policy = json!({"default": [{"type": "insecureAcceptAnything"}]});
        fs::write(yard.path("policy.json"), policy.to_string())?;
        fs::write(
            yard.path("registries.conf"),
            "unqualified-search-registries = []\n",
        )?;
        let places = ["graphroot", "runroot"].map(|name| {
            let folder = if name == "runroot" { "run" } else { "root" };
            format!("{name} = \"{}\"\n", yard.path(folder).display())
        });
        let storage = format!("[storage]\ndriver = \"vfs\"\n{}", places.concat());
        fs::write(yard.path("storage.conf"), storage)?;
        fs::write(yard.path("containers.conf"), "")?;
        Ok(yard)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// buildah, which reads and writes nothing outside of the yard.
    fn buildah(&self, words: &[&str]) -> Command {
        let set = |name: &str, file: &str| format!("{name}={}", self.path(file).display());
        let mut command = sh::root("env");
        command
            .arg(format!("LD_LIBRARY_PATH={}", self.builder.libraries))
            .arg(set("HOME", "tmp"))
            .arg(set("TMPDIR", "tmp"))
            .arg(set("CONTAINERS_CONF", "containers.conf"))
            .arg(set("CONTAINERS_STORAGE_CONF", "storage.conf"))
            .arg(set("CONTAINERS_REGISTRIES_CONF", "registries.conf"))
            .arg(&self.builder.program)
            .args(words);
        command
    }

    /// Does what `docker build` with these words would do in a folder.
    fn build(&self, name: &str, folder: &Path, words: &str) -> Result<Image> {
        let policy = self.path("policy.json").display().to_string();
        let tagged = format!("localhost/{name}:test");
        let mut words: Vec<&str> = words.split_whitespace().collect();
        let tag = words.iter().position(|word| *word == "-t");
        let tag = tag.context("the Dockerfile's words name no image")?;
        *words.get_mut(tag + 1).context("-t without a name")? = &tagged;
        let options = [
            "bud",
            "--isolation=chroot",
            "--identity-label=false",
            "--timestamp",
            TIME,
            "--signature-policy",
            &policy,
        ];
        let mut command = self.buildah(&[&options[..], &words].concat());
        sh::capture_within(LIMIT, command.current_dir(folder))?;
        let made = self.path(&format!("{name}.image"));
        let to = format!("dir:{}", made.display());
        let push = [
            "push",
            "--disable-compression",
            "--signature-policy",
            &policy,
            &tagged,
            &to,
        ];
        sh::capture_within(LIMIT, &mut self.buildah(&push))?;
        read(&made, tagged)
    }

    /// What it runs, runs: as the user that it names, in nothing but itself.
    fn run(&self, image: &Image) -> Result<()> {
        let policy = self.path("policy.json").display().to_string();
        let from = ["from", "--signature-policy", &policy, &image.name];
        let container = sh::capture_within(LIMIT, &mut self.buildah(&from))?;
        let program = image.config["config"]["Entrypoint"][0].as_str();
        let program = program.context("no program")?;
        let run = ["run", "--isolation=chroot", container.trim(), "--", program];
        let said = |more: &str| {
            let words = [&run[..], &[more]].concat();
            sh::capture_within(LIMIT, &mut self.buildah(&words))
        };
        let version = said("--version")?;
        ensure!(version.contains(dist::VERSION), "it says {version:?}");
        let help = image.config["config"]["Cmd"][0]
            .as_str()
            .context("no Cmd")?;
        let help = said(help)?;
        ensure!(help.contains("Usage"), "it says {help:?}");
        Ok(())
    }
}

impl Yard {
    /// What it mounts it does in a name space of its own.
    fn leaves_nothing(&self) -> Result<()> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let folder = self.scratch.path().display().to_string();
        let left = mounts.lines().find(|line| line.contains(&folder));
        ensure!(left.is_none(), "a mount is left: {left:?}");
        Ok(())
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        // Files of an image are not this user's, if that is not root.
        let mut remove = sh::root("rm");
        let _ = sh::quiet(remove.arg("-rf").arg(self.scratch.path()));
    }
}

/// An image in a folder, where everything is called by its digest.
fn read(folder: &Path, name: String) -> Result<Image> {
    let blob = |digest: &Value| {
        let digest = digest.as_str().context("no digest")?;
        let path = folder.join(digest.trim_start_matches("sha256:"));
        fs::read(&path).with_context(|| format!("reading {}", path.display()))
    };
    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("manifest.json"))?)?;
    let config = serde_json::from_slice(&blob(&manifest["config"]["digest"])?)?;
    let layers = manifest["layers"].as_array().context("no layers")?;
    let layers = layers.iter().map(|layer| blob(&layer["digest"]));
    Ok(Image {
        name,
        layers: layers.collect::<Result<_>>()?,
        config,
        manifest,
    })
}

/// It says what the Dockerfile says, and holds what the archive holds.
fn verify(image: &Image, rootfs: &Path) -> Result<()> {
    let config = &image.config["config"];
    let owner = dist::IMAGE_OWNER;
    ensure!(
        config["User"] == format!("{owner}:{owner}"),
        "its user is {}",
        config["User"]
    );
    ensure!(
        config["Entrypoint"] == json!(["/usr/bin/nodespan"]) && config["Cmd"] == json!(["--help"]),
        "it runs {} {}",
        config["Entrypoint"],
        config["Cmd"]
    );
    let label = |name: &str| {
        let labels = config["Labels"].as_object();
        labels.and_then(|labels| {
            labels
                .get(&format!("org.opencontainers.image.{name}"))?
                .as_str()
        })
    };
    ensure!(
        label("title") == Some("nodespan")
            && label("version") == Some(dist::VERSION)
            && label("licenses") == Some("MIT OR Apache-2.0")
            && label("description").is_some_and(|text| !text.is_empty()),
        "its labels are {}",
        config["Labels"]
    );
    let mut found = BTreeMap::new();
    for layer in &image.layers {
        found.extend(entries(layer)?);
    }
    let expected = entries(&fs::read(rootfs)?)?;
    let names = |of: &BTreeMap<String, Entry>| of.keys().cloned().collect::<Vec<_>>();
    ensure!(
        names(&found) == names(&expected),
        "it has {:?}",
        names(&found)
    );
    for (path, entry) in &found {
        let is_same = expected.get(path) == Some(entry);
        ensure!(is_same, "{path} is another than in the archive");
        ensure!(
            entry.owner == (owner, owner) && entry.mode & 0o222 == 0,
            "{path} is of {:?} and has the mode {:o}",
            entry.owner,
            entry.mode
        );
    }
    Ok(())
}

/// An entry of an archive.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    kind: tar::EntryType,
    owner: (u64, u64),
    mode: u32,
    content: Vec<u8>,
}

fn entries(archive: &[u8]) -> Result<BTreeMap<String, Entry>> {
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let path = path.trim_matches('/').to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        let header = entry.header();
        let entry = Entry {
            kind: header.entry_type(),
            owner: (header.uid()?, header.gid()?),
            mode: header.mode()? & 0o7777,
            content,
        };
        let twice = found.insert(path.clone(), entry).is_some();
        ensure!(!twice, "{path} is there twice");
    }
    Ok(found)
}
