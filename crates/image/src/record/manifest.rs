/// A complete checkpoint: which images belong together. Not a section of an image but a file of its own,
/// whose existence commits the generation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ManifestV1 {
    /// Identity of the computation; 16 lower-case hex digits.
    #[prost(string, tag = "1")]
    pub computation: String,
    /// Checkpoint sequence number, from 1.
    #[prost(uint64, tag = "2")]
    pub generation: u64,
    /// The images, by agent number, one of each agent.
    #[prost(message, repeated, tag = "3")]
    pub images: Vec<ManifestImageV1>,
}

/// An image of a checkpoint.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ManifestImageV1 {
    /// File name in the checkpoint folder.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Size in bytes.
    #[prost(uint64, tag = "2")]
    pub size: u64,
    /// Checksum of its header, which through the section table stands for all of it.
    #[prost(fixed64, tag = "3")]
    pub header_checksum: u64,
}
