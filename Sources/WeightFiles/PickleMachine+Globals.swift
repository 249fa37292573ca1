import Platform
import Tensors

/// The few classes and functions whose meaning is known. All others become inert stand-ins.
extension PickleMachine {
  /// What `callee(*arguments)` stands for.
  mutating func reduce(_ callee: Item, _ arguments: [Item]) throws(MedDINOError) -> Item {
    if case .opaque(let name) = callee { return .opaque(name) }
    guard case .global(let name) = callee else { throw fault("a value is called like a function") }
    switch name {
    case "torch._utils _rebuild_tensor_v2": return try tensor(arguments)
    case "torch._utils _rebuild_parameter", "torch._utils _rebuild_parameter_with_state":
      guard let first = arguments.first else { throw fault("a parameter without a tensor") }
      return first
    case "torch._tensor _rebuild_from_type_v2":
      // (function, type, arguments, state): a tensor with attributes or of a subclass.
      guard case .global("torch._utils _rebuild_tensor_v2")? = arguments.first, arguments.count == 4,
        let inner = node(arguments[2], .tuple)
      else { return .opaque(name) }
      return try tensor(inner.items)
    case "collections OrderedDict": return try orderedDict(arguments)
    case "builtins set", "__builtin__ set", "builtins frozenset", "__builtin__ frozenset":
      guard arguments.count <= 1 else { throw fault("a set of \(arguments.count) arguments") }
      return make(.list, try sequence(arguments.first))
    case "torch Size": return make(.tuple, try sequence(arguments.first))
    case "torch device": return try device(arguments)
    case "_codecs encode": return try encoded(arguments)
    case "numpy dtype":
      guard case .string(let code)? = arguments.first else { throw fault("a numpy type without a code") }
      return make(.numpyType, [.string(code), .string("=")])
    case "numpy.core.multiarray scalar", "numpy._core.multiarray scalar": return try numpyScalar(arguments)
    default:
      if name.hasPrefix("torch._utils _rebuild_") {
        throw .unsupported("\(source): tensors of kind \(dotted(name)) are not supported, only plain dense ones")
      }
      return .opaque(name)
    }
  }

  /// `object.__setstate__(state)`: only a numpy type's byte order matters.
  mutating func build(_ target: Item, _ state: Item) throws(MedDINOError) {
    switch target {
    case .opaque, .tensor: return
    case .node(let index):
      guard nodes[index].kind == .numpyType else { return }
      guard let values = node(state, .tuple)?.items, values.count > 1, case .string(let order) = values[1] else {
        throw fault("a numpy type's state")
      }
      nodes[index].items[1] = .string(order)
    default: throw fault("a state is set in what is no object")
    }
  }

  private func sequence(_ item: Item?) throws(MedDINOError) -> [Item] {
    guard let item else { return [] }
    guard let values = node(item, .list) ?? node(item, .tuple) else { throw fault("a list was expected") }
    return values.items
  }

  private mutating func orderedDict(_ arguments: [Item]) throws(MedDINOError) -> Item {
    var pairs: [Item] = []
    for entry in try sequence(arguments.first) {
      let pair = try sequence(entry)
      guard pair.count == 2 else { throw fault("an OrderedDict of what are no pairs") }
      pairs += pair
      copied += 64
      guard copied <= limits.copies else { throw fault("it is larger than any checkpoint") }
    }
    return try makeDict(pairs)
  }

  private func device(_ arguments: [Item]) throws(MedDINOError) -> Item {
    guard case .string(let kind)? = arguments.first else { throw fault("a device without a name") }
    if arguments.count > 1, case .int(let index) = arguments[1] { return .string("\(kind):\(index)") }
    return .string(kind)
  }

  /// Python 2 protocols carry bytes as text, one character per byte.
  private mutating func encoded(_ arguments: [Item]) throws(MedDINOError) -> Item {
    guard arguments.count == 2, case .string(let text) = arguments[0], case .string("latin1") = arguments[1] else {
      throw fault("an encoded text that is not latin1")
    }
    copied += text.utf8.count
    guard copied <= limits.copies else { throw fault("it is larger than any checkpoint") }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.utf8.count)
    for scalar in text.unicodeScalars {
      guard let byte = UInt8(exactly: scalar.value) else { throw fault("an encoded text that is not latin1") }
      bytes.append(byte)
    }
    return .bytes(bytes)
  }

  private func numpyScalar(_ arguments: [Item]) throws(MedDINOError) -> Item {
    guard let type = arguments.first, let node = node(type, .numpyType), case .string(let code) = node.items[0],
      case .string(let order) = node.items[1]
    else { throw fault("a numpy scalar without a type") }
    guard arguments.count == 2, case .bytes(var bytes) = arguments[1], let dtype = numpyTypes[code] else { return .opaque("numpy " + code) }
    guard bytes.count == dtype.byteCount else { throw fault("a numpy scalar of type \(code) with \(bytes.count) bytes") }
    if order == ">" { bytes.reverse() }
    return bytes.withUnsafeBytes { raw -> Item in
      guard let base = raw.baseAddress else { return .none }
      switch dtype {
      case .bool: return .bool(bytes[0] != 0)
      case .int64: return .int(Int(base.loadUnaligned(as: Int64.self)))
      case .uint64:
        let value = base.loadUnaligned(as: UInt64.self)
        return Int(exactly: value).map(Item.int) ?? .double(Double(value))
      default:
        let value = base.loadElement(dtype, 0)
        return dtype.isFloatingPoint ? .double(value) : .int(Int(value))
      }
    }
  }

  // MARK: tensors

  /// The persistent id of a storage: ('storage', class, key, location, count).
  mutating func persistent(_ identifier: Item) throws(MedDINOError) -> Item {
    guard let parts = node(identifier, .tuple)?.items, parts.count == 5, case .string("storage") = parts[0],
      case .global(let kind) = parts[1], case .string(let key) = parts[2], case .int(let count) = parts[4]
    else { throw fault("a storage's description") }
    guard let dtype = storageTypes[kind] else { return .opaque(kind) }
    guard let member = findStorage(key) else { throw .format("\(source): the data of storage \"\(key)\" is missing") }
    let (size, overflow) = count.multipliedReportingOverflow(by: dtype.byteCount)
    guard count >= 0, !overflow, size <= member.size else {
      throw .format("\(source): storage \"\(key)\" has \(member.size) bytes, too few for \(count) elements of \(dtype.rawValue)")
    }
    storages.append(Storage(dtype: dtype, key: key, offset: member.offset, count: count))
    return .storage(storages.count - 1)
  }

  /// `(storage, offset, size, stride, requires_grad, hooks[, metadata])`; the view must lie inside its storage.
  private mutating func tensor(_ arguments: [Item]) throws(MedDINOError) -> Item {
    guard arguments.count == 6 || arguments.count == 7 else { throw fault("a tensor of \(arguments.count) arguments") }
    if case .opaque(let kind) = arguments[0] { return .opaque(kind) }
    guard case .storage(let index) = arguments[0], case .int(let offset) = arguments[1], let sizes = integers(arguments[2]),
      let strides = integers(arguments[3]), sizes.count == strides.count, sizes.count <= 32
    else { throw fault("a tensor's description") }
    let storage = storages[index]
    let what = "\(source): a tensor of shape \(Shape(sizes)) in storage \"\(storage.key)\""
    guard offset >= 0, sizes.allSatisfy({ $0 >= 0 }), strides.allSatisfy({ $0 >= 0 }) else {
      throw .format("\(what): negative size, offset or stride")
    }
    let count = try Checked.product(sizes.map { max($0, 1) }, what)
    if !sizes.contains(0) {
      var last = offset
      for (size, stride) in zip(sizes, strides) { last = try Checked.sum(last, try Checked.product([size - 1, stride], what), what) }
      guard last < storage.count else { throw .format("\(what): it reaches element \(last) of \(storage.count)") }
      // A stride of 0 repeats elements; without a bound a tiny file could ask for any amount of memory.
      guard count <= storage.count + Self.repeatLimit else { throw .format("\(what): far more elements than the storage holds") }
    }
    tensors.append(
      TorchTensor(
        dtype: storage.dtype, shape: Shape(sizes), storage: storage.key, storageOffset: storage.offset, offset: offset,
        strides: strides))
    return .tensor(tensors.count - 1)
  }
  static let repeatLimit = 1 << 24

  private func integers(_ item: Item) -> [Int]? {
    guard let items = node(item, .tuple)?.items else { return nil }
    var values: [Int] = []
    for item in items {
      guard case .int(let value) = item else { return nil }
      values.append(value)
    }
    return values
  }
}

private let storageTypes: [String: DType] = [
  "torch DoubleStorage": .float64, "torch FloatStorage": .float32, "torch HalfStorage": .float16,
  "torch BFloat16Storage": .bfloat16, "torch LongStorage": .int64, "torch IntStorage": .int32, "torch ShortStorage": .int16,
  "torch CharStorage": .int8, "torch ByteStorage": .uint8, "torch BoolStorage": .bool, "torch.storage UntypedStorage": .uint8,
]
private let numpyTypes: [String: DType] = [
  "f8": .float64, "f4": .float32, "f2": .float16, "i8": .int64, "i4": .int32, "i2": .int16, "i1": .int8, "u8": .uint64,
  "u4": .uint32, "u2": .uint16, "u1": .uint8, "b1": .bool,
]
