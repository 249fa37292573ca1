import Platform

/// Turns the machine's arena into values, each object once, refusing circles and depths that would cost stack.
struct PickleTree {
  static let depthLimit = 128
  /// Lists made from one another share their elements only until here.
  private var elementsLeft = 1 << 23
  private enum State {
    case unseen, open
    case done(PickleValue, height: Int)
  }
  let nodes: [PickleMachine.Node]
  let tensors: [TorchTensor]
  let source: String
  private let charge: MemoryCharge
  private var states: [State]
  /// A value in its box, and its place in a list.
  private static let valueBytes = 80
  private static let nodeBytes = 128

  /// `charge`: grows by what the values take.
  init(nodes: [PickleMachine.Node], tensors: [TorchTensor], source: String, _ charge: MemoryCharge) {
    self.nodes = nodes
    self.tensors = tensors
    self.source = source
    self.charge = charge
    states = Array(repeating: .unseen, count: nodes.count)
  }

  mutating func value(_ item: PickleMachine.Item) throws(MedDINOError) -> PickleValue { try resolve(item, depth: 0).value }

  private mutating func resolve(_ item: PickleMachine.Item, depth: Int) throws(MedDINOError) -> (value: PickleValue, height: Int) {
    switch item {
    case .none: return (.none, 0)
    case .bool(let value): return (.bool(value), 0)
    case .int(let value): return (.int(value), 0)
    case .double(let value): return (.double(value), 0)
    case .string(let value): return (.string(value), 0)
    case .bytes(let value): return (.bytes(value), 0)
    case .global(let name), .opaque(let name): return (.opaque(dotted(name)), 0)
    case .storage: return (.opaque("torch.storage"), 0)
    case .tensor(let index): return (.tensor(tensors[index]), 0)
    case .node(let index): return try resolve(node: index, depth: depth)
    }
  }

  private mutating func resolve(node index: Int, depth: Int) throws(MedDINOError) -> (value: PickleValue, height: Int) {
    switch states[index] {
    case .done(let value, let height):
      guard depth + height <= Self.depthLimit else { throw tooDeep }
      return (value, height)
    case .open: throw .format("\(source): damaged pickle: an object contains itself")
    case .unseen: break
    }
    guard depth < Self.depthLimit else { throw tooDeep }
    elementsLeft -= nodes[index].items.count
    guard elementsLeft >= 0 else { throw .format("\(source): damaged pickle: it is larger than any checkpoint") }
    try charge.grow(by: Self.nodeBytes + Self.valueBytes * nodes[index].items.count)
    states[index] = .open
    var values: [PickleValue] = []
    values.reserveCapacity(nodes[index].items.count)
    var height = 0
    for item in nodes[index].items {
      let part = try resolve(item, depth: depth + 1)
      values.append(part.value)
      height = max(height, part.height)
    }
    let value = assemble(nodes[index].kind, values)
    states[index] = .done(value, height: height + 1)
    return (value, height + 1)
  }

  private var tooDeep: MedDINOError { .format("\(source): damaged pickle: nested deeper than \(Self.depthLimit)") }

  private func assemble(_ kind: PickleMachine.Node.Kind, _ values: [PickleValue]) -> PickleValue {
    switch kind {
    case .list: .list(values)
    case .tuple: .tuple(values)
    case .numpyType: .opaque("numpy.dtype")
    case .dict: .dict(stride(from: 0, to: values.count, by: 2).map { (key: values[$0], value: values[$0 + 1]) })
    }
  }
}
