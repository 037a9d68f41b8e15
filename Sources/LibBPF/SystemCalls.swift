// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import CLibBPFShim
package import Glibc
package import SystemPackage

// System calls that swift-system does not have, and the wrappers of bpf(2) that need no handle of libbpf.
// Invariant: pointers are lent for one call, with the size of the memory behind them. Functions that return a
// `CInt` return a negative error number on failure.

// MARK: Paths

extension FilePath {
  private func call(_ body: (UnsafePointer<CChar>) -> CInt) -> CInt {
    unsafe withPlatformString {
      let result = unsafe body($0)
      return result < 0 ? -errno : result
    }
  }

  @discardableResult
  func unlink() -> CInt { unsafe call { unsafe Glibc.unlink($0) } }

  func rename(to new: FilePath) -> CInt {
    unsafe call { old in unsafe new.call { unsafe Glibc.rename(old, $0) } }
  }

  /// Creates a symbolic link to `target`, which need not exist.
  func createLink(to target: String) -> CInt { unsafe call { unsafe symlink(target, $0) } }

  /// The target of a symbolic link; `nil` if there is none.
  var linkTarget: String? {
    var target = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let length = unsafe withPlatformString { unsafe readlink($0, &target, target.count) }
    return length < 0 ? nil : String(decoding: target.prefix(length), as: UTF8.self)
  }

  func createDirectory(_ mode: mode_t) -> CInt { unsafe call { unsafe mkdir($0, mode) } }

  @discardableResult
  func removeDirectory() -> CInt { unsafe call { unsafe rmdir($0) } }

  /// Changes a symbolic link itself, not its target.
  func changeOwner(_ owner: uid_t, _ group: gid_t) -> CInt {
    unsafe call { unsafe lchown($0, owner, group) }
  }

  /// The owner and group, of a symbolic link itself; `nil` if there is no file.
  var ownership: (owner: uid_t, group: gid_t)? {
    var status = Glibc.stat()
    guard unsafe call({ unsafe lstat($0, &status) }) == 0 else { return nil }
    return (status.st_uid, status.st_gid)
  }

  /// Fails with `EOPNOTSUPP` for a symbolic link.
  func changeMode(_ mode: mode_t) -> CInt {
    unsafe call { unsafe fchmodat(AT_FDCWD, $0, mode, AT_SYMLINK_NOFOLLOW) }
  }

  /// Whether the descriptor's file has this path.
  func isPath(of descriptor: CInt) -> Bool {
    var (found, opened) = (Glibc.stat(), Glibc.stat())
    return unsafe call { unsafe lstat($0, &found) } == 0 && fstat(descriptor, &opened) == 0
      && (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino)
  }

  /// Whether an absolute path does not exist. A relative one may refer to another directory now.
  var isMissing: Bool { unsafe call { unsafe access($0, F_OK) } == -ENOENT && isAbsolute }

  var exists: Bool { unsafe call { unsafe access($0, F_OK) } == 0 }

  /// The reason why the effective user cannot open files in this directory; `nil` if it can.
  var entryError: Errno? {
    let code = unsafe appending(".").call { unsafe faccessat(AT_FDCWD, $0, X_OK, AT_EACCESS) }
    return code == 0 ? nil : Errno(rawValue: -code)
  }

  var isOnBPFFileSystem: Bool { unsafe call { unsafe mms_is_on_bpffs($0) } == 1 }

  func mountBPFFileSystem(options: String) -> CInt {
    let flags = UInt(MS_NOSUID | MS_NODEV | MS_NOEXEC)
    return unsafe options.withCString { options in
      unsafe call { unsafe mount("bpf", $0, "bpf", flags, options) }
    }
  }

  /// Pins the object of the descriptor (`BPF_OBJ_PIN`).
  func pin(_ descriptor: CInt) -> CInt { unsafe call { unsafe bpf_obj_pin(descriptor, $0) } }

  /// Opens the pinned object (`BPF_OBJ_GET`).
  func openPin(readOnly: Bool) -> CInt {
    var options = bpf_obj_get_opts()
    options.sz = MemoryLayout<Int>.size + MemoryLayout<UInt32>.size  // up to file_flags
    options.file_flags = readOnly ? BPFMapFlags.rdonly.rawValue : 0
    return unsafe call { unsafe bpf_obj_get_opts($0, &options) }
  }

  /// The names in a directory, without "." and "..".
  func directoryEntries() throws(Errno) -> [String] {
    guard let directory = unsafe withPlatformString({ unsafe opendir($0) }) else {
      throw Errno(rawValue: errno)
    }
    defer { unsafe closedir(directory) }
    var names: [String] = []
    while let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) {
        unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }
}

// MARK: Descriptors

/// Changes the group, unless it is the file's.
func setGroup(of descriptor: CInt, to group: gid_t) -> CInt {
  var info = stat()
  if unsafe fstat(descriptor, &info) == 0, info.st_gid == group { return 0 }
  return fchown(descriptor, uid_t.max, group) == 0 ? 0 : -errno
}

func changeMode(of descriptor: CInt, to mode: mode_t) -> CInt {
  fchmod(descriptor, mode) == 0 ? 0 : -errno
}

/// The user who owns the descriptor's file.
func owner(of descriptor: CInt) -> Result<uid_t, Errno> {
  var info = stat()
  guard unsafe fstat(descriptor, &info) == 0 else { return .failure(Errno(rawValue: errno)) }
  return .success(info.st_uid)
}

/// The file of the descriptor, such as "anon_inode:bpf-map"; `nil` without `/proc`.
package func descriptorTarget(_ descriptor: CInt) -> String? {
  var target = [UInt8](repeating: 0, count: 256)
  let length = unsafe readlink("/proc/self/fd/\(descriptor)", &target, target.count)
  return length < 0 ? nil : String(decoding: target.prefix(length), as: UTF8.self)
}

extension FileDescriptor {
  /// Reads `chunk` bytes at a time until the end, or until there are more than `limit` bytes. Reads again
  /// after the errors `retrying`.
  package func readToEnd(
    chunk: Int = 4096,
    limit: Int = .max,
    retrying: [Errno] = [.interrupted]
  ) throws(Errno) -> [UInt8] {
    var bytes: [UInt8] = []
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk, alignment: 16)
    defer { unsafe buffer.deallocate() }
    while bytes.count <= limit {
      let count = unsafe Glibc.read(rawValue, buffer.baseAddress, chunk)
      let failure = Errno(rawValue: errno)
      if count == 0 { break }
      if count > 0 {
        unsafe bytes += buffer.prefix(count)
      } else if !retrying.contains(failure) {
        throw failure
      }
    }
    return bytes
  }
}

/// A pair of connected sockets, close-on-exec and non-blocking.
func createSocketPair() throws(Errno) -> (CInt, CInt) {
  var ends: [CInt] = [-1, -1]
  let type = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
  guard unsafe socketpair(AF_UNIX, CInt(type), 0, &ends) == 0 else {
    throw Errno(rawValue: errno)
  }
  return (ends[0], ends[1])
}

/// Waits for events (`poll(2)`); without a limit if `milliseconds` is negative.
package func pollDescriptors(_ entries: inout [pollfd], milliseconds: CInt) -> CInt {
  let count = unsafe poll(&entries, nfds_t(entries.count), milliseconds)
  return count < 0 ? -errno : count
}

// MARK: Time

/// The time of a clock (`clock_gettime(2)`).
package func nanoseconds(of clock: clockid_t) -> Int {
  var time = timespec()
  unsafe clock_gettime(clock, &time)
  return time.tv_sec * 1_000_000_000 + time.tv_nsec
}

// MARK: Threads

/// A thread that was started, to be joined or detached.
package struct StartedThread: ~Copyable {
  private let thread: pthread_t

  fileprivate init(_ thread: pthread_t) { self.thread = thread }

  package consuming func join() { pthread_join(thread, nil) }

  package consuming func detach() { pthread_detach(thread) }
}

/// Starts a thread that runs `body`.
package func startThread(
  _ body: @escaping @Sendable () -> Void
) throws(Errno) -> StartedThread {
  final class Start {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  let start = unsafe Unmanaged.passRetained(Start(body))
  var thread = pthread_t()
  let code = unsafe pthread_create(
    &thread,
    nil,
    { start in
      guard let start = unsafe start else { return nil }
      unsafe Unmanaged<Start>.fromOpaque(start).takeRetainedValue().body()
      return nil
    },
    unsafe start.toOpaque()
  )
  guard code == 0 else {
    unsafe start.release()
    throw Errno(rawValue: code)
  }
  return StartedThread(thread)
}

/// Runs `body` with the calling thread's signals blocked, except those that end the process.
func withSignalsBlocked<Result>(_ body: () -> Result) -> Result {
  var (blocked, previous) = (sigset_t(), sigset_t())
  unsafe sigfillset(&blocked)
  let unblocked = [
    SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS,
  ]
  for signal in unblocked { unsafe sigdelset(&blocked, signal) }
  unsafe pthread_sigmask(SIG_BLOCK, &blocked, &previous)
  defer { unsafe pthread_sigmask(SIG_SETMASK, &previous, nil) }
  return body()
}

// MARK: bpf(2)

/// Reads the info of a descriptor's object (`BPF_OBJ_GET_INFO_BY_FD`). The type must fit the
/// descriptor, and pointers in it must be valid.
@unsafe
private func readInfo<Info>(_ descriptor: CInt, _ info: inout Info) -> CInt {
  var size = UInt32(MemoryLayout<Info>.size)
  return unsafe withUnsafeMutablePointer(to: &info) {
    unsafe bpf_obj_get_info_by_fd(descriptor, $0, &size)
  }
}

func readMapInfo(_ descriptor: CInt) -> (code: CInt, bpf_map_info) {
  var info = bpf_map_info()
  return unsafe (readInfo(descriptor, &info), info)
}

func readLinkInfo(_ descriptor: CInt) -> (code: CInt, bpf_link_info) {
  var info = bpf_link_info()
  return unsafe (readInfo(descriptor, &info), info)
}

func readProgramInfo(_ descriptor: CInt) -> (code: CInt, bpf_prog_info) {
  var info = bpf_prog_info()
  return unsafe (readInfo(descriptor, &info), info)
}

/// The ids of the maps that a program uses, at most `count`, and zeroes after them.
package func readProgramMaps(_ descriptor: CInt, count: Int) -> (code: CInt, [UInt32]) {
  var maps = [UInt32](repeating: 0, count: count)
  let code = unsafe maps.withUnsafeMutableBytes { bytes in
    var info = bpf_prog_info()
    info.nr_map_ids = UInt32(count)
    info.map_ids = UInt64(UInt(bitPattern: bytes.baseAddress))
    return unsafe readInfo(descriptor, &info)
  }
  return (code, maps)
}

extension bpf_map_info {
  var kernelName: String { text(upToZero: name) }
}

extension bpf_prog_info {
  var kernelName: String { text(upToZero: name) }

  var hexadecimalTag: String {
    unsafe withUnsafeBytes(of: tag) { tag in
      unsafe tag.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
  }
}

private typealias Name = (
  CChar, CChar, CChar, CChar, CChar, CChar, CChar, CChar,
  CChar, CChar, CChar, CChar, CChar, CChar, CChar, CChar
)

private func text(upToZero name: Name) -> String {
  unsafe withUnsafeBytes(of: name) { unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
}

/// Finds the map with the next larger id.
func nextMapID(_ id: inout UInt32) -> CInt { unsafe bpf_map_get_next_id(id, &id) == 0 ? 0 : -errno }

/// Finds the program with the next larger id.
func nextProgramID(_ id: inout UInt32) -> CInt {
  unsafe bpf_prog_get_next_id(id, &id) == 0 ? 0 : -errno
}

func openMap(id: UInt32, readOnly: Bool) -> CInt {
  var options = bpf_get_fd_by_id_opts()
  options.sz = optionsSize(upTo: \bpf_get_fd_by_id_opts.open_flags, UInt32.self)
  options.open_flags = readOnly ? BPFMapFlags.rdonly.rawValue : 0
  return unsafe bpf_map_get_fd_by_id_opts(id, &options)
}

/// The type information is that of a descriptor, or none if that is negative.
func createMap(
  _ type: BPFMapType,
  name: String,
  sizes: (key: UInt32, value: UInt32, entries: UInt32),
  _ flags: BPFMapFlags,
  btf: CInt,
  keyType: UInt32,
  valueType: UInt32
) -> CInt {
  var options = bpf_map_create_opts()
  options.sz = optionsSize(upTo: \bpf_map_create_opts.map_flags, UInt32.self)
  options.map_flags = flags.rawValue
  if btf >= 0 {
    options.btf_fd = UInt32(bitPattern: btf)
    options.btf_key_type_id = keyType
    options.btf_value_type_id = valueType
  }
  let kernelType = bpf_map_type(rawValue: type.rawValue)
  return unsafe bpf_map_create(kernelType, name, sizes.key, sizes.value, sizes.entries, &options)
}

extension BPFProgram {
  private static let optionsSize = unsafe LibBPF.optionsSize(
    upTo: \bpf_test_run_opts.retval,
    UInt32.self
  )

  /// Runs a program of type `syscall` on the calling thread (`BPF_PROG_TEST_RUN`): one system call.
  ///
  /// - Parameters:
  ///   - context: The program's argument, which it may change; up to 64 KiB.
  ///   - size: Bytes of `context`.
  /// - Returns: The result of the program, or the system call's error.
  package func run(_ context: UnsafeMutableRawPointer?, size: Int) -> Result<Int32, Errno> {
    var options = unsafe bpf_test_run_opts()
    unsafe options.sz = Self.optionsSize
    unsafe options.ctx_in = UnsafeRawPointer(context)
    unsafe options.ctx_size_in = UInt32(truncatingIfNeeded: size)
    let code = unsafe bpf_prog_test_run_opts(descriptor, &options)
    guard code == 0 else { return .failure(Errno(rawValue: -code)) }
    return unsafe .success(Int32(bitPattern: options.retval))
  }

  /// Runs a program of type `syscall` with one word as its context.
  package func run(_ word: UInt64) -> Result<Int32, Errno> {
    var word = word
    return unsafe run(&word, size: MemoryLayout<UInt64>.size)
  }

  /// Runs a raw tracepoint program with these arguments on the calling thread.
  package func runRaw(_ arguments: [UInt64]) -> Result<UInt32, Errno> {
    var arguments = arguments
    let size = arguments.count * MemoryLayout<UInt64>.size
    return unsafe run(&arguments, size: size).map { UInt32(bitPattern: $0) }
  }
}

// MARK: Texts of libbpf

/// libbpf's name of a type of map, such as "task_storage"; `nil` if libbpf does not support the
/// type.
func libbpfName(of type: BPFMapType) -> String? {
  unsafe libbpf_bpf_map_type_str(bpf_map_type(rawValue: type.rawValue)).map {
    unsafe String(cString: $0)
  }
}

/// libbpf's message for one of its own error numbers.
func libbpfText(of number: CInt) -> String {
  unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { text in
    guard let start = text.baseAddress else { return "" }
    unsafe libbpf_strerror(number, start, text.count)
    return unsafe String(cString: start)
  }
}

/// Converts the result of a libbpf function that returns a pointer to a negative error number; 0
/// for a pointer that is not null. Call before `errno` can change.
func resultCode(_ pointer: OpaquePointer?) -> CInt { unsafe pointer == nil ? -errno : 0 }
