use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tempfile::TempDir;

use super::tree::Tree;
use crate::receiver::disk::{Disk, Syncing, SystemDisk};

/// Disk that loses power at a chosen call, or refuses it, and that then forgets what was not synced.
///
/// Names and contents reach the disk separately: a file's bytes with its own sync, a name with the sync of its
/// folder, and a name that moves with the sync of both folders. Before that, each of them may or may not be there
/// after a power cut.
pub(super) struct FaultyDisk {
    folder: TempDir,
    model: Mutex<Model>,
    stop: Option<(usize, Stop)>,
    /// True if every sync counts as done: a mutant, which the tests must find.
    pub(super) ignores_syncs: bool,
    pub(super) free: Option<u64>,
}

/// Effect of the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The power goes. No further call has an effect.
    Cut,
    /// This call fails, and no other.
    Refusal,
}

/// Part of the unsynced changes that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing, as if the process was killed and not the system.
    Nothing,
    /// All of them.
    Everything,
    /// The bytes of files, but no names.
    Bytes,
    /// A random choice from this seed, for each change on its own. Of a file's bytes, a part.
    Some(u64),
}

impl Loss {
    /// Returns one of each kind.
    pub(super) fn all(seed: u64) -> [Self; 4] {
        [Self::Nothing, Self::Everything, Self::Bytes, Self::Some(seed)]
    }
}

#[derive(Default)]
struct Model {
    calls: usize,
    is_off: bool,
    contents: Vec<Content>,
    before: BTreeMap<PathBuf, Node>,
    names: BTreeMap<PathBuf, Node>,
    changes: Vec<(Change, Vec<PathBuf>)>,
}

#[derive(Clone, Copy)]
enum Node {
    Folder,
    File(usize),
}

struct Content {
    synced: Vec<u8>,
    now: Vec<u8>,
}

#[derive(Clone)]
enum Change {
    Made(PathBuf, Node),
    Removed(PathBuf),
    Renamed(PathBuf, PathBuf),
}

fn apply(change: &Change, names: &mut BTreeMap<PathBuf, Node>) {
    let is_kept = |path: &Path, names: &BTreeMap<PathBuf, Node>| {
        path.parent()
            .is_some_and(|above| above == Path::new("") || matches!(names.get(above), Some(Node::Folder)))
    };
    match change {
        Change::Made(path, node) if is_kept(path, names) => drop(names.insert(path.clone(), *node)),
        // A folder is removed when it is empty, so its contents are gone as well.
        Change::Removed(path) => names.retain(|name, _| !name.starts_with(path)),
        Change::Renamed(from, to) if is_kept(to, names) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
        Change::Made(..) | Change::Renamed(..) => {}
    }
}

impl FaultyDisk {
    pub(super) fn new(tree: &Tree, stop: Option<(usize, Stop)>) -> Self {
        // Memory is used if the system has it as a folder.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.unwrap();
        tree.write(folder.path());
        let mut model = Model::default();
        model.names.extend(tree.folders.iter().map(|path| (path.into(), Node::Folder)));
        for (path, bytes) in &tree.files {
            model.names.insert(path.into(), Node::File(model.contents.len()));
            model.contents.push(Content { synced: bytes.clone(), now: bytes.clone() });
        }
        model.before = model.names.clone();
        Self { folder, model: Mutex::new(model), stop, ignores_syncs: false, free: None }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    /// Returns the number of calls.
    pub(super) fn calls(&self) -> usize {
        self.model.lock().unwrap().calls
    }

    /// Returns the contents of the disk when the power comes back.
    pub(super) fn survivors(&self, loss: Loss) -> Tree {
        let model = self.model.lock().unwrap();
        let mut random = match loss {
            Loss::Some(seed) => fastrand::Rng::with_seed(seed),
            _ => fastrand::Rng::with_seed(0),
        };
        let mut names = model.before.clone();
        for (change, unsynced) in &model.changes {
            let is_there = unsynced.is_empty()
                || match loss {
                    Loss::Nothing | Loss::Bytes => true,
                    Loss::Everything => false,
                    Loss::Some(_) => random.bool(),
                };
            if is_there {
                apply(change, &mut names);
            }
        }
        let mut tree = Tree::default();
        for (path, node) in names {
            let path = path.to_str().unwrap().to_owned();
            match node {
                Node::Folder => drop(tree.folders.insert(path)),
                Node::File(content) => {
                    let Content { synced, now } = &model.contents[content];
                    let bytes = match loss {
                        Loss::Nothing => now.clone(),
                        Loss::Everything | Loss::Bytes => synced.clone(),
                        Loss::Some(_) if synced == now => now.clone(),
                        Loss::Some(_) => match random.u8(..4) {
                            0 => synced.clone(),
                            1 => now.clone(),
                            2 => now[..random.usize(..=now.len())].to_vec(),
                            // The length reached the disk, and the bytes did not.
                            _ => vec![0; now.len()],
                        },
                    };
                    tree.files.insert(path, bytes);
                }
            }
        }
        tree
    }

    fn call<T>(&self, work: impl FnOnce(&mut Model) -> io::Result<T>) -> io::Result<T> {
        let mut model = self.model.lock().unwrap();
        if model.is_off {
            return Err(io::Error::other("the power is off"));
        }
        model.calls += 1;
        match self.stop {
            Some((at, stop)) if model.calls == at + 1 => {
                model.is_off = stop == Stop::Cut;
                Err(io::Error::other("this call does not succeed"))
            }
            _ => work(&mut model),
        }
    }

    fn name(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.folder.path().canonicalize().unwrap()).unwrap().to_owned()
    }
}

impl Model {
    fn change(&mut self, change: Change) {
        let above = |path: &PathBuf| path.parent().unwrap().to_owned();
        let mut folders = match &change {
            Change::Made(path, _) | Change::Removed(path) => vec![above(path)],
            Change::Renamed(from, to) => vec![above(from), above(to)],
        };
        folders.dedup();
        apply(&change, &mut self.names);
        self.changes.push((change, folders));
    }

    fn content(&mut self, path: &Path) -> usize {
        match self.names[path] {
            Node::File(content) => content,
            Node::Folder => panic!("{} is a folder", path.display()),
        }
    }
}

impl Disk for FaultyDisk {
    type File = (File, usize);

    fn create(&self, path: &Path) -> io::Result<Self::File> {
        self.call(|model| {
            let file = SystemDisk.create(path)?;
            let name = self.name(path);
            if !model.names.contains_key(&name) {
                let node = Node::File(model.contents.len());
                model.contents.push(Content { synced: Vec::new(), now: Vec::new() });
                model.change(Change::Made(name.clone(), node));
            }
            let content = model.content(&name);
            model.contents[content].now.clear();
            Ok((file, content))
        })
    }

    fn append(&self, path: &Path) -> io::Result<Self::File> {
        self.call(|model| Ok((SystemDisk.append(path)?, model.content(&self.name(path)))))
    }

    fn write(&self, (file, content): &mut Self::File, bytes: &[u8]) -> io::Result<()> {
        self.call(|model| {
            model.contents[*content].now.extend_from_slice(bytes);
            SystemDisk.write(file, bytes)
        })
    }

    fn sync(&self, (_, content): &Self::File) -> io::Result<()> {
        self.call(|model| {
            let content = &mut model.contents[*content];
            if !self.ignores_syncs {
                content.synced = content.now.clone();
            }
            Ok(())
        })
    }

    fn begin_sync(&self, file: &Self::File) -> io::Result<Syncing> {
        self.sync(file)?;
        Ok(Syncing::default())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.call(|model| {
            assert!(path.is_dir(), "{}", path.display());
            let name = self.name(path);
            if !self.ignores_syncs {
                model.changes.iter_mut().for_each(|(_, unsynced)| unsynced.retain(|folder| *folder != name));
            }
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|model| {
            SystemDisk.rename(from, to)?;
            model.change(Change::Renamed(self.name(from), self.name(to)));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(|model| {
            SystemDisk.remove(path)?;
            model.change(Change::Removed(self.name(path)));
            Ok(())
        })
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.call(|model| {
            SystemDisk.make_folder(path)?;
            model.change(Change::Made(self.name(path), Node::Folder));
            Ok(())
        })
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.call(|model| {
            SystemDisk.remove_folder(path)?;
            model.change(Change::Removed(self.name(path)));
            Ok(())
        })
    }

    fn dress(&self, path: &Path, like: &Path) -> io::Result<()> {
        self.call(|_| SystemDisk.dress(path, like))
    }

    fn free(&self, _: &Path) -> Option<u64> {
        self.free
    }
}

#[test]
fn what_is_synced_survives_and_what_is_not_may_be_lost() {
    let disk = FaultyDisk::new(&Tree::of(&[("a", b"old".to_vec())]), None);
    let (root, path) = (disk.root(), disk.root().join("b"));
    let mut file = disk.create(&path).unwrap();
    disk.write(&mut file, b"synced").unwrap();
    disk.sync(&file).unwrap();
    assert!(!disk.survivors(Loss::Everything).files.contains_key("b"));
    assert_eq!(disk.survivors(Loss::Bytes).files["b"], b"synced");
    disk.sync_folder(&root).unwrap();
    disk.write(&mut file, b" and not").unwrap();
    disk.rename(&path, &root.join("a")).unwrap();
    let survivors = disk.survivors(Loss::Everything);
    assert_eq!((&survivors.files["a"][..], &survivors.files["b"][..]), (&b"old"[..], &b"synced"[..]));
    assert_eq!(disk.survivors(Loss::Bytes).files["a"], b"synced");
    assert_eq!(disk.survivors(Loss::Nothing), Tree::read(&root));
}
