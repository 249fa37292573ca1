public import Platform
internal import Tensors

/// A PyTorch checkpoint (`.pth`, the ZIP format since PyTorch 1.6), read as data: nothing in it is ever executed.
///
/// Source: model specification 2.6.
public final class TorchArchive: Sendable {
  public let source: any ByteSource
  /// What was saved, usually a mapping.
  public let root: PickleValue
  /// The elements are big-endian.
  let isSwapped: Bool
  /// The memory that `root` takes.
  private let charge: MemoryCharge
  static let pickleLimit = 64 << 20

  /// True when the first bytes are those of such a file or of one of PyTorch's older formats.
  ///
  /// `head`: at least 9 bytes where the file has them. The header length of a safetensors file can begin with the same bytes.
  public static func recognises(_ head: [UInt8]) -> Bool {
    let isSafeTensors = head.count >= 9 && head[4..<8].allSatisfy { $0 == 0 } && head[8] == UInt8(ascii: "{")
    return !isSafeTensors && (head.starts(with: [0x50, 0x4b]) || head.first == 0x80)
  }

  /// Throws: `.format` when the file is damaged or something else, `.unsupported` for PyTorch's other formats, `.outOfMemory`, `.io`.
  public init(_ source: any ByteSource, in budget: MemoryBudget) throws(MedDINOError) {
    self.source = source
    try Self.checkStart(source)
    let members = try ZipDirectory(source).members
    let top = try Self.topFolder(members, source)
    guard members[top + "constants.pkl"] == nil, !members.keys.contains(where: { $0.hasPrefix(top + "code/") }) else {
      throw .unsupported("\(source.name): a TorchScript program; save the model's state_dict with torch.save instead")
    }
    if let squeezed = members.values.first(where: { !$0.isPlain }) {
      throw .unsupported("\(source.name): member \"\(squeezed.name)\" is compressed; PyTorch stores members as they are")
    }
    isSwapped = try Self.isBigEndian(members[top + "byteorder"], source)
    guard let pickle = members[top + "data.pkl"], pickle.size <= Self.pickleLimit else {
      throw .format("\(source.name): its pickle is too large")
    }
    let text = try budget.allocate(pickle.size, "pickle of \(source.name)")
    try source.read(at: pickle.offset, into: text.bytes)
    var machine = PickleMachine(UnsafeRawBufferPointer(text.bytes), source: source.name, in: budget) { key in
      members[top + "data/" + key].map { ($0.offset, $0.size) }
    }
    (root, charge) = try machine.run()
    withExtendedLifetime(text) {}
  }

  private static func checkStart(_ source: any ByteSource) throws(MedDINOError) {
    let head = try source.bytes(at: 0, count: min(4, source.size))
    if head == [0x50, 0x4b, 3, 4] { return }
    if head.first == 0x80 {
      throw .unsupported("\(source.name): PyTorch's format before 1.6 (a bare pickle); load it in PyTorch and save it again")
    }
    throw .format("\(source.name): not a PyTorch checkpoint")
  }

  /// All members share one top folder, named after the file that was first written.
  private static func topFolder(_ members: [String: ZipDirectory.Member], _ source: any ByteSource) throws(MedDINOError) -> String {
    let pickles = members.keys.filter { $0.hasSuffix("/data.pkl") && $0.split(separator: "/").count == 2 }
    guard pickles.count == 1, let pickle = pickles.first else {
      throw .format("\(source.name): a ZIP file, but no PyTorch checkpoint (no single data.pkl in it)")
    }
    let top = String(pickle.dropLast("data.pkl".count))
    guard members.keys.allSatisfy({ $0.hasPrefix(top) }) else {
      throw .format("\(source.name): members outside of the folder \"\(top)\"")
    }
    return top
  }

  private static func isBigEndian(_ member: ZipDirectory.Member?, _ source: any ByteSource) throws(MedDINOError) -> Bool {
    guard let member else { return false }
    let text = String(decoding: try source.bytes(at: member.offset, count: min(member.size, 16)), as: UTF8.self)
    switch text.split(whereSeparator: \.isWhitespace).first {
    case "little": return false
    case "big": return true
    default: throw .format("\(source.name): unknown byte order \"\(text)\"")
    }
  }
}
