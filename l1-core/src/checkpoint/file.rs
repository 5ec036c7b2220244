//! A safetensors file with one text of ours in its metadata.

use std::{
    cmp::Ordering,
    collections::HashMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor, Var};
use safetensors::{
    Dtype, SafeTensorError,
    tensor::{Metadata, TensorInfo},
};

use super::{header, replace::replace};
use crate::{Error, Result};

/// The key of the text among the file's metadata.
const KEY: &str = "l1.checkpoint";

/// What to do about a file that was whole once.
pub(super) const OLDER_COPY: &str = "take an older copy of it";

/// Writes the text and the tensors: the same bytes in whatever order these come.
pub(super) fn write(path: &Path, text: String, mut tensors: Vec<(String, &Tensor)>) -> Result<()> {
    // As the safetensors crate orders them: by falling alignment, then by name.
    tensors.sort_unstable_by(|(name, tensor), (other_name, other)| {
        let alignment = |tensor: &Tensor| Dtype::from(tensor.dtype());
        alignment(other).cmp(&alignment(tensor)).then_with(|| name.cmp(other_name))
    });
    let header = header_of(text, &tensors)?;
    let written = replace(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        // One tensor at a time, so that the file is never in memory as a whole.
        tensors.iter().try_for_each(|(_, tensor)| write_tensor(file, tensor))
    });
    written.map_err(|error| match error {
        candle_core::Error::Io(cause) => Error::CheckpointIo { path: path.to_owned(), action: "written", cause },
        error => error.into(),
    })
}

fn header_of(text: String, tensors: &[(String, &Tensor)]) -> Result<Vec<u8>> {
    let mut end = 0;
    let info = |(name, tensor): &(String, &Tensor)| {
        let start = end;
        end += tensor.elem_count() * tensor.dtype().size_in_bytes();
        let dtype = tensor.dtype().into();
        (name.clone(), TensorInfo { dtype, shape: tensor.dims().to_vec(), data_offsets: (start, end) })
    };
    let infos = tensors.iter().map(info).collect();
    let metadata = Metadata::new(Some(HashMap::from([(KEY.to_owned(), text)])), infos);
    let header = metadata.and_then(|metadata| Ok(serde_json::to_vec(&metadata)?));
    let mut header = header.map_err(candle_core::Error::from)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    // What nobody could read again is not written.
    if header.len() as u64 > header::LARGEST {
        return Err(candle_core::Error::from(SafeTensorError::HeaderTooLarge).into());
    }
    Ok(header)
}

fn write_tensor(file: &mut dyn io::Write, tensor: &Tensor) -> candle_core::Result<()> {
    // candle cannot give the bytes of these, and would panic.
    if matches!(tensor.dtype(), DType::F4 | DType::F6E2M3 | DType::F6E3M2 | DType::F8E8M0) {
        return Err(candle_core::Error::UnsupportedSafeTensorDtype(tensor.dtype().into()));
    }
    let tensor = tensor.to_device(&Device::Cpu)?;
    Ok(file.write_all(&safetensors::View::data(&tensor))?)
}

/// A checkpoint's file of which the header is read.
pub(super) struct Opened {
    path: PathBuf,
    file: File,
    header: Metadata,
}

impl Opened {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let failed = |cause| unreadable(path, cause);
        let mut file = File::open(path).map_err(failed)?;
        let (header, start) = header::read(&mut file).map_err(|error| match error {
            SafeTensorError::IoError(cause) => failed(cause),
            SafeTensorError::HeaderTooSmall | SafeTensorError::InvalidHeaderLength => cut_off(path, error),
            _ => {
                let why =
                    format!("it is no safetensors file ({error}); checkpoints are what `Checkpoint::save` writes");
                not_a_checkpoint(path, why, Some(error.into()))
            }
        })?;
        let opened = Self { path: path.to_owned(), file, header };
        let found = opened.file.metadata().map_err(failed)?;
        // Of a pipe nobody knows how long it is.
        if found.is_file() {
            opened.check_length(found.len().saturating_sub(start))?;
        }
        Ok(opened)
    }

    /// Refuses data that are not all that the header describes, and nothing else.
    ///
    /// * `found`: their length.
    fn check_length(&self, found: u64) -> Result<()> {
        match found.cmp(&(self.header.data_len() as u64)) {
            Ordering::Less => Err(cut_off(&self.path, SafeTensorError::MetadataIncompleteBuffer)),
            Ordering::Equal => Ok(()),
            Ordering::Greater => {
                let why = format!("something stands behind its last tensor; {OLDER_COPY}");
                Err(self.no_checkpoint(why, Some(SafeTensorError::MetadataIncompleteBuffer.into())))
            }
        }
    }

    /// Reads the tensors' data. They are as large as the header says: it is to be held against the model first.
    pub(super) fn into_data(self) -> Result<Data> {
        let failed = |cause| unreadable(&self.path, cause);
        let length = self.header.data_len();
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
        // One more than there should be, so that what stands behind them is seen.
        (&self.file).take((length as u64).saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        self.check_length(bytes.len() as u64)?;
        Ok(Data { header: self.header, bytes })
    }

    /// Our text.
    pub(super) fn text(&self) -> Result<&str> {
        let text = self.header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        text.map(String::as_str).ok_or_else(|| {
            let why = "it is a safetensors file without `l1.checkpoint` in its metadata; if it holds weights alone, \
                       `VarMap::load` reads them";
            self.no_checkpoint(why.to_owned(), None)
        })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    pub(super) fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.header.info(name)
    }

    pub(super) fn no_checkpoint(&self, why: String, cause: Option<Cause>) -> Error {
        not_a_checkpoint(&self.path, why, cause)
    }
}

/// A checkpoint's tensors in memory.
pub(super) struct Data {
    header: Metadata,
    bytes: Vec<u8>,
}

impl Data {
    /// Copies a tensor into a variable of its shape and dtype.
    pub(super) fn copy(&self, name: &str, var: &Var) -> Result<()> {
        let missing = || candle_core::Error::from(SafeTensorError::TensorNotFound(name.to_owned()));
        let (start, end) = self.header.info(name).ok_or_else(missing)?.data_offsets;
        let bytes = self.bytes.get(start..end).ok_or_else(missing)?;
        // Nothing to copy, and not every backend is sure to take nothing.
        if bytes.is_empty() {
            return Ok(());
        }
        Ok(var.set(&Tensor::from_raw_buffer(bytes, var.dtype(), var.dims(), var.device())?)?)
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn unreadable(path: &Path, cause: io::Error) -> Error {
    Error::CheckpointIo { path: path.to_owned(), action: "read", cause }
}

fn cut_off(path: &Path, error: SafeTensorError) -> Error {
    not_a_checkpoint(path, format!("it is cut off ({error}); {OLDER_COPY}"), Some(error.into()))
}

fn not_a_checkpoint(path: &Path, why: String, cause: Option<Cause>) -> Error {
    Error::NotACheckpoint { path: path.to_owned(), why, cause }
}
