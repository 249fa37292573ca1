import Platform
import Tensors

/// Reads a pickle as data: an allow-list of opcodes builds plain values, and no class is ever imported, no function ever called.
///
/// Objects live in an arena and refer to each other by number, so that deep or circular structures cost neither stack nor memory
/// that is never given back. Source: model specification 2.6.
struct PickleMachine {
  enum Item {
    case none
    case bool(Bool)
    case int(Int)
    case double(Double)
    case string(String)
    case bytes([UInt8])
    /// A class or function by "module name".
    case global(String)
    /// The inert stand-in for whatever an unknown class or function would have made.
    case opaque(String)
    case storage(Int)
    case tensor(Int)
    case node(Int)
  }
  struct Node {
    enum Kind { case list, tuple, dict, numpyType }
    var kind: Kind
    /// Elements; a dict's keys and values in turn; a numpy type's code and byte order.
    var items: [Item] = []
    /// Place of each text key in `items`.
    var places: [String: Int] = [:]
  }
  struct Storage {
    let dtype: DType
    let key: String
    let offset: Int
    let count: Int
  }
  struct Limits {
    var operations = 1 << 23
    var objects = 1 << 22
    var stack = 1 << 20
    var tensors = 1 << 20
    /// Bytes and pairs copied by calls, which a repeated call could otherwise multiply.
    var copies = 1 << 27
  }

  let bytes: UnsafeRawBufferPointer
  /// What errors call the pickle.
  let source: String
  /// Position and size of a storage's member, by key.
  let findStorage: (String) -> (offset: Int, size: Int)?
  let limits: Limits
  let budget: MemoryBudget

  var at = 0
  var stack: [Item] = []
  var marks: [Int] = []
  var memo: [Int: Item] = [:]
  var nodes: [Node] = []
  var storages: [Storage] = []
  var tensors: [TorchTensor] = []
  var copied = 0
  /// Elements and text keys that `nodes` hold.
  var elements = 0
  var keys = 0
  private var longestStack = 0

  init(
    _ bytes: UnsafeRawBufferPointer, source: String, limits: Limits = Limits(), in budget: MemoryBudget,
    findStorage: @escaping (String) -> (offset: Int, size: Int)?
  ) {
    self.bytes = bytes
    self.source = source
    self.limits = limits
    self.budget = budget
    self.findStorage = findStorage
  }

  /// What the pickle says, and the memory it takes: to be kept as long as the value.
  ///
  /// Throws: `.format` for a damaged pickle, `.unsupported` for what a pickle may say but this reader refuses, `.outOfMemory` when
  /// what it makes does not fit the budget.
  mutating func run() throws(MedDINOError) -> (value: PickleValue, charge: MemoryCharge) {
    let arena = MemoryCharge(budget, "objects of the pickle of \(source)")
    // Texts and bytes are no longer than what they were read from; a short one takes the room of three times its bytes.
    let texts = MemoryCharge(budget, "texts of the pickle of \(source)")
    try texts.grow(by: 3 * bytes.count)
    var counted = 0
    var operations = 0
    while true {
      operations += 1
      guard operations <= limits.operations, nodes.count <= limits.objects, stack.count <= limits.stack,
        memo.count <= limits.objects, max(storages.count, tensors.count) <= limits.tensors, copied <= limits.copies
      else { throw fault("it is larger than any checkpoint") }
      let opcode = try byte()
      if opcode == UInt8(ascii: ".") { break }
      try step(opcode)
      longestStack = max(longestStack, stack.count)
      let held = arenaBytes
      if held > counted {
        try arena.grow(by: held - counted)
        counted = held
      }
    }
    let result = try pop()
    guard stack.isEmpty, marks.isEmpty else { throw fault("it ends with values left over") }
    try texts.grow(by: copied)
    var builder = PickleTree(nodes: nodes, tensors: tensors, source: source, texts)
    let value = try builder.value(result)
    withExtendedLifetime(arena) {}
    return (value, texts)
  }

  /// About what the machine's arrays and tables take: they grow by doubling.
  private var arenaBytes: Int {
    let item = 2 * MemoryLayout<Item>.stride
    let perNode = 2 * MemoryLayout<Node>.stride + 32
    let perTensor = 2 * (MemoryLayout<TorchTensor>.stride + MemoryLayout<Storage>.stride) + 128
    let table = nodes.count * perNode + keys * 64 + memo.count * (item + 16)
    return table + (elements + longestStack) * item + (storages.count + tensors.count) * perTensor + copied
  }

  func fault(_ reason: String) -> MedDINOError { .format("\(source): damaged pickle at byte \(at): \(reason)") }

  // MARK: bytes

  mutating func byte() throws(MedDINOError) -> UInt8 {
    guard at < bytes.count else { throw fault("it ends early") }
    at += 1
    return bytes[at - 1]
  }
  mutating func take(_ count: Int) throws(MedDINOError) -> UnsafeRawBufferPointer {
    guard count >= 0, count <= bytes.count - at else { throw fault("it ends early") }
    at += count
    return UnsafeRawBufferPointer(rebasing: bytes[(at - count)..<at])
  }
  /// A little-endian unsigned integer of at most 8 bytes.
  mutating func unsigned(_ count: Int) throws(MedDINOError) -> UInt64 {
    var value: UInt64 = 0
    for (place, byte) in try take(count).enumerated() { value |= UInt64(byte) << (8 * UInt64(place)) }
    return value
  }
  /// A 4-byte length.
  mutating func length() throws(MedDINOError) -> Int { Int(try unsigned(4)) }
  mutating func text(_ count: Int) throws(MedDINOError) -> String {
    guard let text = String(validating: try take(count), as: UTF8.self) else { throw fault("a text is not valid UTF-8") }
    return text
  }
  mutating func line() throws(MedDINOError) -> String {
    let start = at
    while try byte() != 10 {
      guard at - start <= 1024 else { throw fault("a name is too long") }
    }
    guard let text = String(validating: bytes[start..<(at - 1)], as: UTF8.self) else { throw fault("a name is not valid UTF-8") }
    return text
  }

  // MARK: stack

  mutating func push(_ item: Item) { stack.append(item) }
  /// Items below the last mark are out of reach of everything but the opcode that takes the mark away.
  mutating func pop() throws(MedDINOError) -> Item {
    guard stack.count > (marks.last ?? 0), let item = stack.popLast() else { throw fault("the stack is empty") }
    return item
  }
  func top() throws(MedDINOError) -> Item {
    guard stack.count > (marks.last ?? 0), let item = stack.last else { throw fault("the stack is empty") }
    return item
  }
  mutating func popToMark() throws(MedDINOError) -> [Item] {
    guard let mark = marks.popLast() else { throw fault("no mark is set") }
    let items = Array(stack[mark...])
    stack.removeSubrange(mark...)
    return items
  }
  mutating func make(_ kind: Node.Kind, _ items: [Item] = []) -> Item {
    nodes.append(Node(kind: kind, items: items))
    elements += items.count
    return .node(nodes.count - 1)
  }
  mutating func makeDict(_ pairs: [Item]) throws(MedDINOError) -> Item {
    let item = make(.dict)
    try setItems(item, pairs)
    return item
  }
  func node(_ item: Item, _ kind: Node.Kind) -> Node? {
    guard case .node(let index) = item, nodes[index].kind == kind else { return nil }
    return nodes[index]
  }

  // MARK: filling

  mutating func setItems(_ target: Item, _ pairs: [Item]) throws(MedDINOError) {
    if case .opaque = target { return }
    guard case .node(let index) = target, nodes[index].kind == .dict else { throw fault("items are set in what is no dict") }
    guard pairs.count % 2 == 0 else { throw fault("a key without a value") }
    for place in stride(from: 0, to: pairs.count, by: 2) {
      if case .string(let key) = pairs[place] {
        if let held = nodes[index].places[key] {
          nodes[index].items[held + 1] = pairs[place + 1]
          continue
        }
        nodes[index].places[key] = nodes[index].items.count
        keys += 1
      }
      nodes[index].items.append(pairs[place])
      nodes[index].items.append(pairs[place + 1])
      elements += 2
    }
  }
  mutating func append(_ target: Item, _ items: [Item]) throws(MedDINOError) {
    if case .opaque = target { return }
    guard case .node(let index) = target, nodes[index].kind == .list else { throw fault("values are added to what is no list") }
    nodes[index].items.append(contentsOf: items)
    elements += items.count
  }
}

/// "module name" as "module.name".
func dotted(_ name: String) -> String { name.split(separator: " ").joined(separator: ".") }
