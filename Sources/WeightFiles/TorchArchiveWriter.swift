public import Platform
public import Tensors

/// Writes a PyTorch checkpoint (`.pth`) that `torch.load(…, weights_only=True)` reads: a mapping of mappings of tensors.
///
/// The file appears whole or not at all. Members are stored as they are; the pickle has protocol 2 and no memo.
/// Source: model specification 2.6; PKWARE APPNOTE 4.3 (ZIP64 where a field would overflow).
public enum TorchArchiveWriter {
  /// One entry of the outer mapping, such as "teacher".
  public struct Group {
    public let name: String
    public let tensors: [(name: String, tensor: Tensor)]
    public init(_ name: String, _ tensors: [(name: String, tensor: Tensor)]) {
      self.name = name
      self.tensors = tensors
    }
  }
  private static let folder = "archive/"

  /// Throws: `.io`, `.unsupported` for a type of elements that PyTorch's storages of old do not have, `.outOfMemory`; an earlier file at
  /// the path is then unchanged.
  public static func write(_ groups: [Group], to path: String) throws(MedDINOError) {
    var pickle = PickleWriter()
    try pickle.mapping(groups, path)
    let zip = try ZipWriter(path)
    try zip.add(folder + "data.pkl", pickle.bytes)
    try zip.add(folder + "byteorder", Array("little".utf8))
    var key = 0
    for group in groups {
      for entry in group.tensors {
        try zip.add(folder + "data/\(key)", UnsafeRawBufferPointer(entry.tensor.bytes))
        withExtendedLifetime(entry.tensor) {}
        key += 1
      }
    }
    try zip.add(folder + "version", Array("3\n".utf8))
    try zip.finish()
  }
}

/// The few opcodes that tensors need.
private struct PickleWriter {
  private(set) var bytes: [UInt8] = [0x80, 2]
  private static let storages: [DType: String] = [
    .float32: "FloatStorage", .float16: "HalfStorage", .bfloat16: "BFloat16Storage", .float64: "DoubleStorage", .uint8: "ByteStorage",
    .int8: "CharStorage", .int16: "ShortStorage", .int32: "IntStorage", .int64: "LongStorage", .bool: "BoolStorage",
  ]

  /// The whole pickle; storages are numbered in order. Throws: `.unsupported`.
  mutating func mapping(_ groups: [TorchArchiveWriter.Group], _ path: String) throws(MedDINOError) {
    var key = 0
    beginMapping()
    for group in groups {
      text(group.name)
      beginMapping()
      for entry in group.tensors {
        guard let storage = Self.storages[entry.tensor.dtype] else {
          throw .unsupported("\(path): \(entry.name) is \(entry.tensor.dtype.rawValue), which PyTorch's checkpoints do not hold")
        }
        text(entry.name)
        tensor(entry.tensor.shape, storage, key)
        key += 1
      }
      endMapping()
    }
    endMapping()
    append(".")
  }

  /// _rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())
  private mutating func tensor(_ shape: Shape, _ storage: String, _ key: Int) {
    var strides = [Int](repeating: 1, count: shape.rank)
    for axis in strides.indices.dropLast().reversed() { strides[axis] = strides[axis + 1] * shape[axis + 1] }
    global("torch._utils", "_rebuild_tensor_v2")
    append("((")
    text("storage")
    global("torch", storage)
    text(String(key))
    text("cpu")
    integer(shape.count)
    append("tQ")
    integer(0)
    for list in [shape.extents, strides] {
      append("(")
      for value in list { integer(value) }
      append("t")
    }
    bytes.append(0x89)  // requires no gradient
    global("collections", "OrderedDict")
    append(")RtR")
  }

  private mutating func beginMapping() { append("}(") }
  private mutating func endMapping() { append("u") }
  private mutating func append(_ opcodes: String) { bytes += Array(opcodes.utf8) }
  private mutating func global(_ module: String, _ name: String) { append("c\(module)\n\(name)\n") }
  private mutating func text(_ value: String) {
    append("X")
    bytes += littleEndian(UInt64(value.utf8.count), 4)
    append(value)
  }
  private mutating func integer(_ value: Int) {
    if value <= Int(Int32.max) {
      append("J")
      bytes += littleEndian(UInt64(value), 4)
    } else {
      bytes += [0x8a, 8]
      bytes += littleEndian(UInt64(value), 8)
    }
  }
}

/// A ZIP file of members that are stored as they are.
private final class ZipWriter {
  private struct Member {
    let name: [UInt8]
    let size, offset: Int
    let sum: UInt32
  }
  private let file: AtomicFile
  private var members: [Member] = []
  private static let full = 0xffff_ffff
  /// 1 January 1980: a file does not depend on when it was written.
  private static let date: UInt64 = 0x0021

  init(_ path: String) throws(MedDINOError) { file = try AtomicFile(path) }

  func add(_ name: String, _ contents: [UInt8]) throws(MedDINOError) {
    try begin(name, size: contents.count, sum: contents.withUnsafeBytes { CRC32.of($0) })
    try file.write(contents)
  }
  func add(_ name: String, _ contents: UnsafeRawBufferPointer) throws(MedDINOError) {
    try begin(name, size: contents.count, sum: CRC32.of(contents))
    try file.write(contents)
  }

  private func begin(_ name: String, size: Int, sum: UInt32) throws(MedDINOError) {
    let member = Member(name: Array(name.utf8), size: size, offset: file.bytesWritten, sum: sum)
    let wide = member.size >= Self.full ? [member.size, member.size] : []
    try file.write(littleEndian(0x0403_4b50, 4) + common(member, wide) + member.name + extra(wide))
    members.append(member)
  }

  /// The directory and its end. Throws: `.io`.
  func finish() throws(MedDINOError) {
    let start = file.bytesWritten
    for member in members {
      let wide = (member.size >= Self.full ? [member.size, member.size] : []) + (member.offset >= Self.full ? [member.offset] : [])
      var entry = littleEndian(0x0201_4b50, 4) + littleEndian(45, 2)
      entry += common(member, wide)
      entry += littleEndian(0, 2) + littleEndian(0, 2) + littleEndian(0, 2) + littleEndian(0, 4)
      entry += narrow(member.offset)
      entry += member.name
      entry += extra(wide)
      try file.write(entry)
    }
    let end = file.bytesWritten
    if end >= Self.full || members.count >= 0xffff {
      var record = littleEndian(0x0606_4b50, 4) + littleEndian(44, 8) + littleEndian(45, 2) + littleEndian(45, 2)
      record += littleEndian(0, 4) + littleEndian(0, 4)
      for value in [members.count, members.count, end - start, start] { record += littleEndian(UInt64(value), 8) }
      record += littleEndian(0x0706_4b50, 4) + littleEndian(0, 4) + littleEndian(UInt64(end), 8) + littleEndian(1, 4)
      try file.write(record)
    }
    let count = littleEndian(UInt64(min(members.count, 0xffff)), 2)
    try file.write(
      littleEndian(0x0605_4b50, 4) + littleEndian(0, 4) + count + count + narrow(end - start) + narrow(start) + littleEndian(0, 2))
    try file.commit()
  }

  /// From the needed version to the lengths of name and extra field, the same in both headers.
  private func common(_ member: Member, _ wide: [Int]) -> [UInt8] {
    var bytes = littleEndian(wide.isEmpty ? 20 : 45, 2) + littleEndian(0, 2) + littleEndian(0, 2) + littleEndian(0, 2)
    bytes += littleEndian(Self.date, 2)
    bytes += littleEndian(UInt64(member.sum), 4)
    bytes += narrow(member.size)
    bytes += narrow(member.size)
    bytes += littleEndian(UInt64(member.name.count), 2)
    bytes += littleEndian(UInt64(wide.isEmpty ? 0 : 4 + 8 * wide.count), 2)
    return bytes
  }
  private func narrow(_ value: Int) -> [UInt8] { littleEndian(UInt64(min(value, Self.full)), 4) }
  private func extra(_ wide: [Int]) -> [UInt8] {
    guard !wide.isEmpty else { return [] }
    var bytes = littleEndian(1, 2) + littleEndian(UInt64(8 * wide.count), 2)
    for value in wide { bytes += littleEndian(UInt64(value), 8) }
    return bytes
  }
}

private func littleEndian(_ value: UInt64, _ count: Int) -> [UInt8] {
  (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
}
