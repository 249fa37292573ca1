public import Tensors

/// What a pickle says, as plain data. Nothing in it can act.
///
/// Mappings keep their order; a set is a list; a `torch.Size` is a tuple; a `torch.device` is a string such as "cuda:0";
/// numpy scalars are numbers. Source: model specification 2.6.
public indirect enum PickleValue: Sendable {
  case none
  case bool(Bool)
  case int(Int)
  case double(Double)
  case string(String)
  case bytes([UInt8])
  case list([PickleValue])
  case tuple([PickleValue])
  case dict([(key: PickleValue, value: PickleValue)])
  case tensor(TorchTensor)
  /// An object of a class or function that is not known here; it was neither imported nor called.
  case opaque(String)

  public var stringValue: String? { if case .string(let value) = self { value } else { nil } }
  public var boolValue: Bool? { if case .bool(let value) = self { value } else { nil } }
  public var tensorValue: TorchTensor? { if case .tensor(let value) = self { value } else { nil } }
  public var dictValue: [(key: PickleValue, value: PickleValue)]? { if case .dict(let value) = self { value } else { nil } }
  public var intValue: Int? { if case .int(let value) = self { value } else { nil } }
  public var doubleValue: Double? {
    switch self {
    case .int(let value): Double(value)
    case .double(let value): value
    default: nil
    }
  }
  /// Elements of a list or a tuple.
  public var elements: [PickleValue]? {
    switch self {
    case .list(let values), .tuple(let values): values
    default: nil
    }
  }
  /// The value of a mapping's text key.
  public subscript(key: String) -> PickleValue? { dictValue?.first { $0.key.stringValue == key }?.value }

  /// A word for messages: what kind of thing this is.
  public var kind: String {
    switch self {
    case .none: "None"
    case .bool: "a bool"
    case .int: "an integer"
    case .double: "a number"
    case .string: "a text"
    case .bytes: "bytes"
    case .list: "a list"
    case .tuple: "a tuple"
    case .dict: "a dict"
    case .tensor: "a tensor"
    case .opaque(let name): "an object of \(name)"
    }
  }
}

/// Where a tensor of an archive lies: a strided view of one storage. Checked when it was made.
public struct TorchTensor: Sendable, Equatable {
  public let dtype: DType
  public let shape: Shape
  /// The storage's name inside the archive; several tensors may share one.
  public let storage: String
  /// Position of the storage in the file, in bytes.
  let storageOffset: Int
  /// First element of the view, and steps per axis, in elements.
  let offset: Int
  let strides: [Int]

  /// Row-major without gaps: its bytes can be read as they lie.
  var isContiguous: Bool {
    var expected = 1
    for (extent, stride) in zip(shape.extents, strides).reversed() where extent != 1 {
      if stride != expected { return false }
      expected *= extent
    }
    return true
  }
}
