public import Platform

extension PickleValue {
  /// The value as JSON, in the way Python's `json` writes it: tuples are arrays, keys are text.
  ///
  /// Tensors and unknown objects become texts in angle brackets.
  /// Throws: `.format` when the value is larger than `limit` values, which shared parts can make it.
  public func json(limit: Int = 1 << 22) throws(MedDINOError) -> JSON {
    var left = limit
    return try json(&left)
  }

  private func json(_ left: inout Int) throws(MedDINOError) -> JSON {
    left -= 1
    guard left >= 0 else { throw .format("a value of the pickle is too large") }
    switch self {
    case .none: return .null
    case .bool(let value): return .bool(value)
    case .int(let value): return .integer(value)
    case .double(let value): return .number(value)
    case .string(let value): return .string(value)
    case .bytes(let value): return .string("<\(value.count) bytes>")
    case .tensor(let tensor): return .string("<tensor \(tensor.shape)>")
    case .opaque(let name): return .string("<\(name)>")
    case .list(let values), .tuple(let values):
      var result: [JSON] = []
      result.reserveCapacity(values.count)
      for value in values { result.append(try value.json(&left)) }
      return .array(result)
    case .dict(let entries):
      var object = JSONObject()
      for (key, value) in entries { object[key.jsonKey] = try value.json(&left) }
      return .object(object)
    }
  }

  private var jsonKey: String {
    switch self {
    case .string(let text): text
    case .int(let value): String(value)
    case .double(let value): "\(value)"
    case .bool(let value): value ? "true" : "false"
    case .none: "null"
    case .tuple(let values): "(" + values.map(\.jsonKey).joined(separator: ", ") + ")"
    default: "<\(kind)>"
    }
  }
}
