/// A pseudo-terminal whose master is inside of the computation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TerminalV1 {
    /// Number: the slave is /dev/pts/NUMBER. At the same time its number within the image.
    #[prost(uint32, tag = "1")]
    pub number: u32,
    /// The slave's modes: `struct termios2` (44 bytes). Empty when the terminal has hung up.
    #[prost(bytes = "vec", tag = "2")]
    pub modes: Vec<u8>,
    /// Rows, columns, and the size in pixels.
    #[prost(uint32, repeated, tag = "3")]
    pub size: Vec<u32>,
    /// Permissions of the slave's file.
    #[prost(uint32, tag = "4")]
    pub permissions: u32,
    /// TIOCGPTLCK: the slave cannot be opened.
    #[prost(bool, tag = "5")]
    pub locked: bool,
    /// TIOCGEXCL of the slave.
    #[prost(bool, tag = "6")]
    pub exclusive: bool,
    /// TIOCGPKT of the master.
    #[prost(bool, tag = "7")]
    pub packet_mode: bool,
    /// Session whose controlling terminal it is, as the program sees it; 0 when it is nobody's.
    #[prost(int32, tag = "8")]
    pub session: i32,
    /// Its foreground process group, as the program sees it; 0 when there is none.
    #[prost(int32, tag = "9")]
    pub foreground: i32,
    /// The master is closed; only slaves are left, which cannot be used any more.
    #[prost(bool, tag = "10")]
    pub hung_up: bool,
    /// The slave was open, and is closed everywhere (the master says POLLHUP).
    #[prost(bool, tag = "11")]
    pub slave_closed: bool,
    /// What waits in it.
    #[prost(message, optional, tag = "12")]
    pub queues: Option<TerminalQueuesV1>,
}

/// What waits in a pseudo-terminal.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TerminalQueuesV1 {
    /// To be read from the master.
    #[prost(bytes = "vec", tag = "1")]
    pub output: Vec<u8>,
    /// To be read from the slave: lines in canonical mode, the last perhaps not complete; else one entry at most.
    #[prost(message, repeated, tag = "2")]
    pub input: Vec<TerminalInputV1>,
    /// Output is stopped: 0 no, 1 by the STOP character, 2 by tcflow(3).
    #[prost(uint32, tag = "3")]
    pub stopped: u32,
}

/// A piece of waiting input.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TerminalInputV1 {
    /// The bytes, with the character that ends the line if that is read too.
    #[prost(bytes = "vec", tag = "1")]
    pub bytes: Vec<u8>,
    /// 0: no complete line; 1: ends with its last byte; 2: ended by the EOF character.
    #[prost(uint32, tag = "2")]
    pub ending: u32,
}

/// The terminal that the program has from its launcher.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OutsideTerminalV1 {
    /// Its modes: `struct termios2` (44 bytes).
    #[prost(bytes = "vec", tag = "1")]
    pub modes: Vec<u8>,
    /// Its foreground process group, as the program sees it; 0 when it is the launcher's or somebody else's.
    #[prost(int32, tag = "2")]
    pub foreground: i32,
    /// Number of its /dev/pts file; absent when it is no pseudo-terminal.
    #[prost(uint32, optional, tag = "3")]
    pub number: Option<u32>,
}
