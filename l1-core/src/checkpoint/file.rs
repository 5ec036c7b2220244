//! A safetensors file with one text of ours in its metadata.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor, Var};
use safetensors::{
    Dtype, SafeTensorError, SafeTensors,
    tensor::{Metadata, TensorInfo},
};

use super::replace::replace;
use crate::{Error, Result};

/// The key of the text among the file's metadata.
const KEY: &str = "l1.checkpoint";

/// The header's own name in the file, which no tensor can have.
pub(super) const HEADER: &str = "__metadata__";

/// What to do about a file that was whole once.
pub(super) const OLDER_COPY: &str = "take an older copy of it";

/// The largest header that the safetensors crate reads.
const LARGEST_HEADER: usize = 100_000_000;

/// Writes the text and the tensors: the same bytes in whatever order these come.
pub(super) fn write(path: &Path, text: String, mut tensors: Vec<(String, &Tensor)>) -> Result<()> {
    // As the safetensors crate orders them: by falling alignment, then by name.
    tensors.sort_unstable_by(|(name, tensor), (other_name, other)| {
        let alignment = |tensor: &Tensor| Dtype::from(tensor.dtype());
        alignment(other).cmp(&alignment(tensor)).then_with(|| name.cmp(other_name))
    });
    let header = header(text, &tensors)?;
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

fn header(text: String, tensors: &[(String, &Tensor)]) -> Result<Vec<u8>> {
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
    if header.len() > LARGEST_HEADER {
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

/// A checkpoint's file in memory.
pub(super) struct Opened {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Where the tensors' data start.
    start: usize,
    header: Metadata,
}

impl Opened {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let failed = |cause| Error::CheckpointIo { path: path.to_owned(), action: "read", cause };
        let bytes = fs::read(path).map_err(failed)?;
        let (length, header) = SafeTensors::read_metadata(&bytes).map_err(|error| {
            let why = match error {
                SafeTensorError::HeaderTooSmall
                | SafeTensorError::InvalidHeaderLength
                | SafeTensorError::MetadataIncompleteBuffer => format!("it is cut off ({error}); {OLDER_COPY}"),
                _ => format!("it is no safetensors file ({error}); checkpoints are what `Checkpoint::save` writes"),
            };
            not_a_checkpoint(path, why, Some(error.into()))
        })?;
        Ok(Self { path: path.to_owned(), start: 8 + length, bytes, header })
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

    /// Copies a tensor into a variable of its shape and dtype.
    pub(super) fn copy(&self, name: &str, var: &Var) -> Result<()> {
        let missing = || candle_core::Error::from(SafeTensorError::TensorNotFound(name.to_owned()));
        let (start, end) = self.info(name).ok_or_else(missing)?.data_offsets;
        let bytes = self.bytes.get(self.start + start..self.start + end).ok_or_else(missing)?;
        // Nothing to copy, and not every backend is sure to take nothing.
        if bytes.is_empty() {
            return Ok(());
        }
        Ok(var.set(&Tensor::from_raw_buffer(bytes, var.dtype(), var.dims(), var.device())?)?)
    }

    pub(super) fn no_checkpoint(&self, why: String, cause: Option<Cause>) -> Error {
        not_a_checkpoint(&self.path, why, cause)
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn not_a_checkpoint(path: &Path, why: String, cause: Option<Cause>) -> Error {
    Error::NotACheckpoint { path: path.to_owned(), why, cause }
}
