public import Platform

/// Bytes as a source that lives in memory.
public func memorySource(_ bytes: [UInt8]) -> MemorySource {
  let copy = UnsafeMutableRawPointer.allocate(byteCount: max(bytes.count, 1), alignment: 1)
  copy.copyMemory(from: bytes, byteCount: bytes.count)
  return MemorySource(copy, size: bytes.count) { copy.deallocate() }
}

/// Little-endian bytes of an integer.
public func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }
public func littleEndian(_ values: [Float]) -> [UInt8] { values.flatMap { littleEndian($0.bitPattern) } }

/// Writes ZIP files member by member, right or wrong as a test wants them.
public struct ZipBuilder {
  public struct Member {
    public var name: String
    public var bytes: [UInt8]
    public var method: UInt16 = 0
    public var flags: UInt16 = 0
    /// Bytes of padding in the local header's extra field.
    public var padding = 0
    public init(_ name: String, _ bytes: [UInt8]) {
      self.name = name
      self.bytes = bytes
    }
  }
  public var members: [Member]
  /// Directory fields say 0xffff…, their values stand in the 64-bit record and extra fields.
  public var isWide = false
  public init(_ members: [Member]) { self.members = members }

  public func bytes() -> [UInt8] {
    var out: [UInt8] = []
    var directory: [UInt8] = []
    for member in members {
      directory += entry(member, at: out.count)
      out += local(member)
    }
    let start = out.count
    out += directory
    if isWide { out += wideEnd(record: out.count, start: start, size: directory.count) }
    out += [0x50, 0x4b, 5, 6, 0, 0, 0, 0]
    let count = littleEndian(isWide ? UInt16.max : UInt16(members.count))
    out += count + count + field(directory.count) + field(start) + [0, 0]
    return out
  }

  private func field(_ value: Int) -> [UInt8] { littleEndian(isWide ? UInt32.max : UInt32(value)) }
  private func wide(_ values: [Int]) -> [UInt8] { values.reduce(into: []) { $0 += littleEndian(UInt64($1)) } }
  private func zeros(_ count: Int) -> [UInt8] { [UInt8](repeating: 0, count: count) }

  private func local(_ member: Member) -> [UInt8] {
    var out: [UInt8] = [0x50, 0x4b, 3, 4, 0, 0] + littleEndian(member.flags) + littleEndian(member.method) + zeros(16)
    out += littleEndian(UInt16(member.name.utf8.count)) + littleEndian(UInt16(member.padding))
    out += Array(member.name.utf8) + [UInt8](repeating: 0x5a, count: member.padding) + member.bytes
    return out
  }
  private func entry(_ member: Member, at position: Int) -> [UInt8] {
    let size = member.bytes.count
    let extra = isWide ? [1, 0, 24, 0] + wide([size, size, position]) : []
    var out: [UInt8] = [0x50, 0x4b, 1, 2, 0, 0, 0, 0] + littleEndian(member.flags) + littleEndian(member.method) + zeros(8)
    out += field(size) + field(size) + littleEndian(UInt16(member.name.utf8.count)) + littleEndian(UInt16(extra.count))
    out += zeros(10) + field(position) + Array(member.name.utf8) + extra
    return out
  }
  private func wideEnd(record: Int, start: Int, size: Int) -> [UInt8] {
    var out: [UInt8] = [0x50, 0x4b, 6, 6] + littleEndian(UInt64(44)) + zeros(12)
    out += wide([members.count, members.count, size, start])
    out += [0x50, 0x4b, 6, 7, 0, 0, 0, 0] + wide([record]) + littleEndian(UInt32(1))
    return out
  }
}

/// Writes pickles opcode by opcode.
public struct PickleBuilder {
  public private(set) var bytes: [UInt8] = [0x80, 2]
  public init() {}

  public mutating func op(_ code: Character, _ operand: [UInt8] = []) { bytes += Array(code.utf8) + operand }
  public mutating func raw(_ more: [UInt8]) { bytes += more }
  public mutating func text(_ value: String) { op("X", littleEndian(UInt32(value.utf8.count)) + Array(value.utf8)) }
  public mutating func int(_ value: Int) { raw([0x8a, 8] + littleEndian(Int64(value))) }
  public mutating func global(_ module: String, _ name: String) { op("c", Array("\(module)\n\(name)\n".utf8)) }
  public mutating func tuple(_ values: [Int]) {
    op("(")
    for value in values { int(value) }
    op("t")
  }
  /// `collections.OrderedDict()`.
  public mutating func orderedDict() {
    global("collections", "OrderedDict")
    op(")")
    op("R")
  }
  public mutating func tensor(
    key: String, count: Int, shape: [Int], strides: [Int]? = nil, offset: Int = 0, type: String = "FloatStorage",
    function: String = "_rebuild_tensor_v2", module: String = "torch"
  ) {
    var steps = [Int](repeating: 1, count: shape.count)
    for axis in (0..<max(shape.count - 1, 0)).reversed() { steps[axis] = steps[axis + 1] &* max(shape[axis + 1], 1) }
    global("torch._utils", function)
    op("(")
    op("(")
    text("storage")
    global(module, type)
    text(key)
    text("cpu")
    int(count)
    op("t")
    op("Q")
    int(offset)
    tuple(shape)
    tuple(strides ?? steps)
    raw([0x89])
    orderedDict()
    op("t")
    op("R")
  }
  public mutating func stop() { op(".") }

  /// A whole checkpoint: this pickle and its storages.
  public func archive(_ storages: [(String, [UInt8])] = [], byteOrder: String? = "little", extra: [ZipBuilder.Member] = []) -> ZipBuilder {
    var members = [ZipBuilder.Member("model/data.pkl", bytes)]
    if let byteOrder { members.append(.init("model/byteorder", Array(byteOrder.utf8))) }
    members += storages.map { .init("model/data/" + $0.0, $0.1) }
    for index in members.indices { members[index].padding = (index * 13) % 64 }
    return ZipBuilder(members + extra)
  }

  /// A flat mapping of float32 tensors, as `torch.save(state_dict)` makes it, under `path` of nested mappings.
  public static func stateDict(_ tensors: [(String, [Int], [Float])], under path: [String] = []) -> ZipBuilder {
    var pickle = PickleBuilder()
    var storages: [(String, [UInt8])] = []
    for name in path {
      pickle.op("}")
      pickle.text(name)
    }
    pickle.orderedDict()
    pickle.op("(")
    for (index, (name, shape, values)) in tensors.enumerated() {
      pickle.text(name)
      pickle.tensor(key: String(index), count: values.count, shape: shape)
      storages.append((String(index), littleEndian(values)))
    }
    pickle.op("u")
    for _ in path { pickle.op("s") }
    pickle.stop()
    return pickle.archive(storages)
  }
}
