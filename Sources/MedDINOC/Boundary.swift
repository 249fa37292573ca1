internal import CKernels
internal import CMedDINO
internal import Glibc
internal import Platform

// What every export does: nothing thrown passes, a failure becomes a status and the thread's last error, outputs stay untouched.

/// Runs `body`; an error becomes a status and the thread's last error text. Success clears that text.
func guarded(_ body: () throws(MedDINOError) -> Void) -> meddino_status {
  ck_set_last_error("")
  do {
    try body()
    ck_set_last_error("")  // a callback of the host's may have made a call that failed
    return meddino_status(MEDDINO_OK)
  } catch {
    ck_set_last_error(fitted(oneLine(error.message)))
    return meddino_status(error.kind.rawValue)
  }
}

/// Messages are one line: paths and names from files may hold anything.
func oneLine(_ text: String) -> String {
  text.unicodeScalars.contains { $0.value < 32 }
    ? String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 32 ? " " : $0 })) : text
}

/// A text of at most 1023 bytes: what a longer one has in its middle goes, because the path stands in front and the reason at the end.
func fitted(_ text: String) -> String {
  let (limit, mark) = (1023, "…")
  guard text.utf8.count > limit else { return text }
  let kept = limit - mark.utf8.count
  var (head, tail) = (Substring(text), Substring(text))
  while head.utf8.count > kept / 3 { head.removeLast() }
  while tail.utf8.count > kept - kept / 3 { tail.removeFirst() }
  return head + mark + tail
}

/// A settings text, which is parsed outside any memory limit. Throws: as `text`, and `.invalid` above 4 MB.
func settingsText(_ pointer: UnsafePointer<CChar>, _ name: String) throws(MedDINOError) -> String {
  let count = strnlen(pointer, (4 << 20) + 1)
  guard count <= 4 << 20 else { throw .invalid("\(name) has more than \(4 << 20) bytes") }
  return try text(pointer, name)
}

/// A pointer that must not be NULL. Throws: `.invalid` with the argument's name.
func required<T>(_ pointer: T?, _ name: String) throws(MedDINOError) -> T {
  guard let pointer else { throw .invalid("\(name) is NULL") }
  return pointer
}

/// A C string argument as a Swift string. Throws: `.invalid` for NULL or text that is not UTF-8.
func text(_ pointer: UnsafePointer<CChar>?, _ name: String) throws(MedDINOError) -> String {
  let pointer = try required(pointer, name)
  guard let value = String(validatingCString: pointer) else { throw .invalid("\(name) is not valid UTF-8") }
  return value
}

/// Reads a caller's struct under the struct_size rule: fields the caller does not know keep `defaults`; a longer struct must be zero
/// past what we know. Throws: `.invalid` for NULL or an unset size, `.unsupported` for fields of a newer version that are in use.
func read<T: BitwiseCopyable>(_ pointer: UnsafePointer<T>?, _ name: String, defaults: T) throws(MedDINOError) -> T {
  let raw = UnsafeRawPointer(try required(pointer, name))
  let size = try structSize(raw, name)
  var result = defaults
  let known = MemoryLayout<T>.size
  withUnsafeMutableBytes(of: &result) { $0.copyMemory(from: UnsafeRawBufferPointer(start: raw, count: min(size, known))) }
  if size > known {
    let tail = UnsafeRawBufferPointer(start: raw + known, count: size - known)
    guard tail.allSatisfy({ $0 == 0 }) else {
      throw .unsupported("\(name) has \(size) bytes, this version knows \(known) and the rest is not zero")
    }
  }
  return result
}

/// Writes an output struct: as many bytes as the caller's struct_size covers; struct_size itself stays the caller's.
func write<T: BitwiseCopyable>(_ value: T, to pointer: UnsafeMutablePointer<T>?, _ name: String) throws(MedDINOError) {
  let raw = UnsafeMutableRawPointer(try required(pointer, name))
  let size = try structSize(raw, name)
  var value = value
  withUnsafeMutableBytes(of: &value) { bytes in
    bytes.storeBytes(of: size, as: Int.self)
    raw.copyMemory(from: UnsafeRawPointer(bytes.baseAddress ?? UnsafeMutableRawPointer(raw)), byteCount: min(size, bytes.count))
  }
}

/// Checks an output struct before any work is done for it.
func checkOutput<T>(_ pointer: UnsafeMutablePointer<T>?, _ name: String) throws(MedDINOError) {
  _ = try structSize(UnsafeRawPointer(try required(pointer, name)), name)
}

/// Fills a caller's struct with `value` and zero past what we know: the `_init` functions.
func initialize<T: BitwiseCopyable>(_ pointer: UnsafeMutablePointer<T>?, _ size: Int, _ value: T) {
  guard let pointer, size >= MemoryLayout<Int>.size, size <= 1 << 16 else { return }
  let raw = UnsafeMutableRawPointer(pointer)
  raw.initializeMemory(as: UInt8.self, repeating: 0, count: size)
  withUnsafeBytes(of: value) { raw.copyMemory(from: $0.baseAddress ?? UnsafeRawPointer(raw), byteCount: min(size, $0.count)) }
  raw.storeBytes(of: size, as: Int.self)
}

private func structSize(_ raw: UnsafeRawPointer, _ name: String) throws(MedDINOError) -> Int {
  let size = raw.loadUnaligned(as: Int.self)
  guard size >= MemoryLayout<Int>.size, size <= 1 << 16 else {
    throw .invalid("\(name).struct_size is \(size), expected sizeof of the struct; call its _init function")
  }
  return size
}

/// Copies a text into a caller's buffer, cut on a UTF-8 boundary, and returns the whole length.
func copy(_ text: UnsafePointer<CChar>, to buffer: UnsafeMutablePointer<CChar>?, _ capacity: Int) -> Int {
  var length = 0
  while text[length] != 0 { length += 1 }
  guard let buffer, capacity > 0 else { return length }
  var end = min(length, capacity - 1)
  while end > 0, end < length, UInt8(bitPattern: text[end]) & 0xc0 == 0x80 { end -= 1 }
  for index in 0..<end { buffer[index] = text[index] }
  buffer[end] = 0
  return length
}

/// Opaque handles are retained references: made once, released once.
func handle(_ object: AnyObject) -> OpaquePointer { OpaquePointer(Unmanaged.passRetained(object).toOpaque()) }

func object<T: AnyObject>(_ handle: OpaquePointer?, _ name: String, _ type: T.Type) throws(MedDINOError) -> T {
  Unmanaged<T>.fromOpaque(UnsafeRawPointer(try required(handle, name))).takeUnretainedValue()
}
func existing<T: AnyObject>(_ handle: OpaquePointer?, _ type: T.Type) -> T? {
  handle.map { Unmanaged<T>.fromOpaque(UnsafeRawPointer($0)).takeUnretainedValue() }
}
func release<T: AnyObject>(_ handle: OpaquePointer?, _ type: T.Type) {
  if let handle { Unmanaged<T>.fromOpaque(UnsafeRawPointer(handle)).release() }
}

/// C strings that live as long as their owner.
final class CStrings: @unchecked Sendable {
  private var storage: [UnsafeMutablePointer<CChar>] = []
  deinit { for pointer in storage { pointer.deallocate() } }

  func add(_ text: String) -> UnsafePointer<CChar> {
    let bytes = text.utf8CString
    let pointer = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
    for (index, byte) in bytes.enumerated() { pointer[index] = byte }
    storage.append(pointer)
    return UnsafePointer(pointer)
  }
}

/// A constant of the program: valid for the life of the process.
func constant(_ text: StaticString) -> UnsafePointer<CChar> { UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self) }
