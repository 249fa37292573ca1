public import Platform

extension PickleValue {
  /// Most values, and most bytes of text, that become JSON: parts of a pickle that are used many times would multiply.
  public static let jsonValueLimit = 1 << 22
  public static let jsonTextLimit = 64 << 20

  /// The value as JSON, in the way Python's `json` writes it: tuples are arrays, keys are text.
  ///
  /// Tensors and unknown objects become texts in angle brackets. `charge` grows by what the JSON takes.
  /// Throws: `.format` when the value is larger than `limit` values or than `jsonTextLimit`, `.outOfMemory`.
  public func json(limit: Int = PickleValue.jsonValueLimit, _ charge: MemoryCharge) throws(MedDINOError) -> JSON {
    var room = Room(values: limit, text: Self.jsonTextLimit, charge: charge)
    return try json(&room)
  }

  /// What is left of the limits.
  private struct Room {
    var values: Int
    var text: Int
    let charge: MemoryCharge

    mutating func take(_ bytes: Int) throws(MedDINOError) {
      values -= 1
      text -= bytes
      guard values >= 0, text >= 0 else { throw .format("a value of the pickle is too large") }
      try charge.grow(by: 96 + 2 * bytes)
    }
    mutating func text(_ value: String) throws(MedDINOError) -> String {
      try take(value.utf8.count)
      return value
    }
  }

  private func json(_ room: inout Room) throws(MedDINOError) -> JSON {
    switch self {
    case .list(let values), .tuple(let values):
      try room.take(0)
      var result: [JSON] = []
      result.reserveCapacity(values.count)
      for value in values { result.append(try value.json(&room)) }
      return .array(result)
    case .dict(let entries):
      try room.take(0)
      var object = JSONObject()
      for (key, value) in entries {
        let name = try key.jsonKey(&room)
        object[name] = try value.json(&room)
      }
      return .object(object)
    case .string(let value): return .string(try room.text(value))
    case .opaque(let name): return .string(try room.text("<\(name)>"))
    case .bytes(let value): return .string(try room.text("<\(value.count) bytes>"))
    case .tensor(let tensor): return .string(try room.text("<tensor \(tensor.shape)>"))
    case .none, .bool, .int, .double: try room.take(0)
    }
    switch self {
    case .bool(let value): return .bool(value)
    case .int(let value): return .integer(value)
    case .double(let value): return .number(value)
    default: return .null
    }
  }

  private func jsonKey(_ room: inout Room) throws(MedDINOError) -> String {
    switch self {
    case .string(let text): return try room.text(text)
    case .int(let value): return try room.text(String(value))
    case .double(let value): return try room.text("\(value)")
    case .bool(let value): return value ? "true" : "false"
    case .none: return "null"
    case .tuple(let values):
      var parts: [String] = []
      for value in values { parts.append(try value.jsonKey(&room)) }
      return try room.text("(" + parts.joined(separator: ", ") + ")")
    default: return try room.text("<\(kind)>")
    }
  }
}
