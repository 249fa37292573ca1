internal import Glibc
public import Platform
internal import WeightFiles

/// Encoder features on disk, for runs that train the decoder alone: each image goes through the encoder once.
///
/// One file: a head that says what the features depend on, then slots of one size, each with the SHA-256 of its image, a checksum and the
/// values as bfloat16. An image that is cut from the same case, slice and box has the same pixels, so its features are found again, also
/// by a resumed run; other pixels (a dataset that was prepared anew) never are. Slots are read by position. A slot that a killed run left
/// unfinished does not count. Once the file has its largest size nothing more is kept. The file may be deleted when no run uses it. Used
/// by one thread at a time.
public final class FeatureCache {
  public let path: String
  /// Values of one image.
  public let valueCount: Int
  /// Images that were found, and that were not.
  public private(set) var hits = 0
  public private(set) var misses = 0
  /// Images that are kept, and that may be.
  public private(set) var count = 0
  public let capacity: Int
  private let descriptor: Int32
  private var places: [[UInt8]: Int] = [:]
  private static let magic = Array("MEDDFEA1".utf8)
  private static let headSize = 40
  /// Key and checksum.
  private static let slotHeadSize = 40
  private var slotSize: Int { Self.slotHeadSize + 2 * valueCount }

  /// Opens or makes the file. One that belongs to other features is emptied.
  ///
  /// `identity`: everything that the features of an image depend on besides its pixels. `limit`: bytes that the file may have.
  /// Throws: `.invalid` when not one image fits, `.state` while another run uses the file, `.io`.
  public init(_ path: String, valueCount: Int, limit: Int, identity: String) throws(MedDINOError) {
    guard !path.isEmpty, !path.utf8.contains(0) else { throw .invalid("path of the feature cache is empty or holds a NUL byte") }
    let slot = try Checked.sum(try Checked.product([valueCount, 2], "feature cache"), Self.slotHeadSize, "feature cache")
    guard valueCount > 0, limit - Self.headSize >= slot else {
      throw .invalid("feature_cache is \(limit) bytes, expected at least \(slot + Self.headSize): what one image takes")
    }
    self.path = path
    self.valueCount = valueCount
    capacity = (limit - Self.headSize) / slot
    descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw .io("\(path): \(systemMessage(errno))") }
    // Every property is set: a throw runs deinit, which closes.
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      let code = errno
      throw code == EWOULDBLOCK ? .state("\(path): another run uses the feature cache") : .io("\(path): \(systemMessage(code))")
    }
    try load(head: Self.magic + Self.digest(Array("\(identity)\n\(valueCount)".utf8)))
  }
  deinit { close(descriptor) }

  /// The key of an image. Shapes: float32, any.
  public static func key(_ pixels: UnsafeRawBufferPointer) -> [UInt8] {
    var hash = SHA256()
    hash.update(pixels)
    return hash.finish()
  }

  /// Fills `values` (of `valueCount`); false when the image is not kept. Throws: `.io`.
  public func read(_ key: [UInt8], into values: UnsafeMutableBufferPointer<UInt16>) throws(MedDINOError) -> Bool {
    if values.count == valueCount, let place = places[key] {
      let head = try bytes(at: offset(place), count: Self.slotHeadSize)
      let raw = UnsafeMutableRawBufferPointer(values)
      if Array(head.prefix(32)) == key, try fill(raw, at: offset(place) + Self.slotHeadSize),
        head.suffix(8).elementsEqual(Self.checksum(UnsafeRawBufferPointer(raw)))
      {
        hits += 1
        return true
      }
    }
    misses += 1
    return false
  }

  /// Keeps the features of an image if there is room. Throws: `.io`, such as a full disk.
  public func write(_ key: [UInt8], _ values: UnsafeBufferPointer<UInt16>) throws(MedDINOError) {
    guard values.count == valueCount, key.count == 32 else { return }
    let place = places[key] ?? count
    guard place < capacity else { return }
    let raw = UnsafeRawBufferPointer(values)
    // The head makes the slot count, so it comes last.
    try put(raw, at: offset(place) + Self.slotHeadSize)
    let head = key + Self.checksum(raw)
    try head.withUnsafeBufferPointer { bytes throws(MedDINOError) in try put(UnsafeRawBufferPointer(bytes), at: offset(place)) }
    places[key] = place
    count = max(count, place + 1)
  }

  // MARK: the file

  private func offset(_ place: Int) -> Int { Self.headSize + place * slotSize }

  private func load(head: [UInt8]) throws(MedDINOError) {
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { throw .io("\(path): not a regular file") }
    let size = Int(status.st_size)
    guard size >= Self.headSize, try bytes(at: 0, count: Self.headSize) == head else {
      guard ftruncate(descriptor, 0) == 0 else { throw .io("\(path): \(systemMessage(errno))") }
      return try head.withUnsafeBufferPointer { bytes throws(MedDINOError) in try put(UnsafeRawBufferPointer(bytes), at: 0) }
    }
    let whole = min((size - Self.headSize) / slotSize, capacity)
    for place in 0..<whole { places[Array(try bytes(at: offset(place), count: 32))] = place }
    count = whole
    guard ftruncate(descriptor, off_t(offset(whole))) == 0 else { throw .io("\(path): \(systemMessage(errno))") }
  }

  private func bytes(at offset: Int, count: Int) throws(MedDINOError) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: count)
    _ = try result.withUnsafeMutableBufferPointer { (buffer) throws(MedDINOError) in
      try fill(UnsafeMutableRawBufferPointer(buffer), at: offset)
    }
    return result
  }

  /// False at the end of the file.
  private func fill(_ buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(MedDINOError) -> Bool {
    var done = 0
    while done < buffer.count, let base = buffer.baseAddress {
      let count = pread(descriptor, base + done, min(buffer.count - done, 1 << 30), off_t(offset + done))
      if count < 0, errno == EINTR { continue }
      if count == 0 { return false }
      guard count > 0 else { throw .io("\(path): \(systemMessage(errno))") }
      done += count
    }
    return true
  }

  private func put(_ buffer: UnsafeRawBufferPointer, at offset: Int) throws(MedDINOError) {
    var done = 0
    while done < buffer.count, let base = buffer.baseAddress {
      let count = pwrite(descriptor, base + done, min(buffer.count - done, 1 << 30), off_t(offset + done))
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw .io("\(path): \(systemMessage(errno))") }
      done += count
    }
  }

  private static func digest(_ bytes: [UInt8]) -> [UInt8] { bytes.withUnsafeBytes { key($0) } }

  /// FNV-1a over words of 16 bits: finds a slot of which a power cut left a part.
  private static func checksum(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for word in bytes.bindMemory(to: UInt16.self) { hash = (hash ^ UInt64(word)) &* 0x0000_0100_0000_01b3 }
    return (0..<8).map { UInt8(truncatingIfNeeded: hash >> (8 * UInt64($0))) }
  }
}
