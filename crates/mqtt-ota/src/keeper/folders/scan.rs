use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::looking::{Found, Looking};
use super::suspects::Suspects;
use super::{Before, Files, FolderError, Folders};
use crate::keeper::touched::Touched;
use crate::set::FileSet;
use crate::wire::Algorithm;

impl Folders {
    /// Scans `root`. Each folder in it is a device. Exceptions are folders that are hidden or named by a default ignore
    /// rule, and folders that others include and that have no [`SETTINGS_FILE`](crate::keeper::settings::SETTINGS_FILE).
    /// [`Shared`](super::shared::Shared) has the rule for the latter. Unchanged files are not read again, and places in which nothing is
    /// `touched` are not looked at.
    ///
    /// # Errors
    /// The root itself cannot be read. A problem with the folder of one device is reported for that device.
    ///
    /// Cancellation: nothing is left behind. Hashes that were computed stay known.
    pub(in crate::keeper) async fn scan(
        root: &Path,
        before: Before,
        algorithms: BTreeSet<Algorithm>,
        touched: Touched,
        suspects: Suspects,
    ) -> Result<Self, FolderError> {
        let looking = root.to_owned();
        let looked = spawn_blocking(move || Looking::at(&looking, &before, &touched, &suspects)).await;
        let failed =
            |error| FolderError::Unreadable { path: root.to_owned(), source: io::Error::other(error) };
        let Looking { found, mut folders } = looked.map_err(failed)??;
        folders.algorithms.clone_from(&algorithms);
        let mut known = HashMap::new();
        for (device, settings, places, found) in found {
            let files = match found {
                Ok(found) => found.hashed(&algorithms, &mut known).await,
                Err(error) => Err(error),
            };
            folders.add(device, settings, places, files);
        }
        Ok(folders)
    }
}

impl Found {
    /// Hashes the files. `known`: the files of other devices, by the lists that they are made of.
    async fn hashed(
        self,
        algorithms: &BTreeSet<Algorithm>,
        known: &mut HashMap<Vec<usize>, Arc<Files>>,
    ) -> Result<Arc<Files>, Arc<FolderError>> {
        let Self { path, lists } = self;
        let key: Vec<_> = lists.iter().map(|list| Arc::as_ptr(list).addr()).collect();
        if let Some(files) = known.get(&key) {
            return Ok(Arc::clone(files));
        }
        let failed = |source| Arc::new(FolderError::Set { path: path.clone(), source });
        let files: BTreeMap<_, _> = lists.iter().flat_map(|list| list.files.iter().cloned()).collect();
        let set = FileSet::new(files).map_err(failed)?;
        let findings = set.check().await.map_err(failed)?;
        let mut prepared = BTreeMap::new();
        for algorithm in algorithms {
            prepared.insert(*algorithm, set.prepare(*algorithm).await.map_err(failed)?);
        }
        let files = Arc::new(Files { path, set, findings, prepared });
        known.insert(key, Arc::clone(&files));
        Ok(files)
    }
}
