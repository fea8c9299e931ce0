//! Names of error numbers, as users know them from errno(3).

/// The name of a positive errno (`ECONNREFUSED`), or `E` and its number.
pub fn name(errno: i32) -> std::borrow::Cow<'static, str> {
    let known = NAMES.iter().find(|(number, _)| *number == errno);
    match known {
        Some((_, name)) => (*name).into(),
        None => format!("E{errno}").into(),
    }
}

/// What calls on sockets return (include/uapi/asm-generic/errno*.h). The numbers are the same on
/// every architecture that socktrace runs on.
const NAMES: &[(i32, &str)] = &[
    (1, "EPERM"),
    (2, "ENOENT"),
    (4, "EINTR"),
    (5, "EIO"),
    (9, "EBADF"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (14, "EFAULT"),
    (16, "EBUSY"),
    (19, "ENODEV"),
    (22, "EINVAL"),
    (23, "ENFILE"),
    (24, "EMFILE"),
    (32, "EPIPE"),
    (71, "EPROTO"),
    (88, "ENOTSOCK"),
    (89, "EDESTADDRREQ"),
    (90, "EMSGSIZE"),
    (92, "ENOPROTOOPT"),
    (93, "EPROTONOSUPPORT"),
    (95, "EOPNOTSUPP"),
    (97, "EAFNOSUPPORT"),
    (98, "EADDRINUSE"),
    (99, "EADDRNOTAVAIL"),
    (100, "ENETDOWN"),
    (101, "ENETUNREACH"),
    (102, "ENETRESET"),
    (103, "ECONNABORTED"),
    (104, "ECONNRESET"),
    (105, "ENOBUFS"),
    (106, "EISCONN"),
    (107, "ENOTCONN"),
    (110, "ETIMEDOUT"),
    (111, "ECONNREFUSED"),
    (112, "EHOSTDOWN"),
    (113, "EHOSTUNREACH"),
    (114, "EALREADY"),
    (115, "EINPROGRESS"),
];

/// A non-blocking `connect()` that has begun.
pub const EINPROGRESS: i32 = 115;
/// `connect()` on a socket that is connecting.
pub const EALREADY: i32 = 114;
/// `connect()` on a socket that is connected.
pub const EISCONN: i32 = 106;
/// A signal interrupted the call.
pub const EINTR: i32 = 4;
/// The kernel's own, for a call that will be restarted after a signal.
pub const ERESTARTSYS: i32 = 512;
/// The local port is taken, or none is left to choose.
pub const EADDRINUSE: i32 = 98;
/// No local port is left, or the local address is not ours.
pub const EADDRNOTAVAIL: i32 = 99;
/// The peer reset the connection.
pub const ECONNRESET: i32 = 104;
/// Somebody aborted the connection on this side.
pub const ECONNABORTED: i32 = 103;
/// Nobody answered.
pub const ETIMEDOUT: i32 = 110;
/// Nobody listens there.
pub const ECONNREFUSED: i32 = 111;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_errno_h() {
        assert_eq!(name(ECONNREFUSED), "ECONNREFUSED");
        assert_eq!(name(EADDRNOTAVAIL), "EADDRNOTAVAIL");
        assert_eq!(name(4095), "E4095");
    }
}
