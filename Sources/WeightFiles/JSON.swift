/// A JSON value that keeps the order of object keys: nnU-Net's region order depends on it.
public enum JSON: Equatable, Sendable {
  case null
  case bool(Bool)
  case integer(Int)
  case number(Double)
  case string(String)
  case array([JSON])
  case object(JSONObject)

  /// A parsed text takes at most about this many times its bytes: {"":0} becomes an element, an array of one entry and a table of it.
  public static let largestGrowth = 48

  public var boolValue: Bool? { if case .bool(let value) = self { value } else { nil } }
  public var stringValue: String? { if case .string(let value) = self { value } else { nil } }
  public var arrayValue: [JSON]? { if case .array(let value) = self { value } else { nil } }
  public var objectValue: JSONObject? { if case .object(let value) = self { value } else { nil } }
  /// An integer, or a number without a fraction that fits.
  public var intValue: Int? {
    switch self {
    case .integer(let value): value
    case .number(let value): Int(exactly: value)
    default: nil
    }
  }
  public var doubleValue: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .number(let value): value
    default: nil
    }
  }
  public subscript(key: String) -> JSON? { objectValue?[key] }
  public var isNull: Bool { self == .null }

  /// An object literal: `JSON.object(("key", value), …)`.
  public static func object(_ entries: (String, JSON)...) -> JSON { .object(JSONObject(entries)) }
  public static func numbers(_ values: [Double]) -> JSON { .array(values.map(JSON.number)) }
  public static func integers(_ values: [Int]) -> JSON { .array(values.map(JSON.integer)) }
}

/// Keys and values in the order of the text. A repeated key keeps its first place and its last value, as in Python.
public struct JSONObject: Equatable, Sendable {
  public private(set) var entries: [(key: String, value: JSON)] = []
  private var index: [String: Int] = [:]

  public init() {}
  public init(_ entries: [(String, JSON)]) {
    for (key, value) in entries { self[key] = value }
  }

  public var keys: [String] { entries.map(\.key) }
  public subscript(key: String) -> JSON? {
    get { index[key].map { entries[$0].value } }
    set {
      if let place = index[key] {
        if let newValue {
          entries[place].value = newValue
        } else {
          entries.remove(at: place)
          index = Dictionary(uniqueKeysWithValues: entries.enumerated().map { ($1.key, $0) })
        }
      } else if let newValue {
        index[key] = entries.count
        entries.append((key, newValue))
      }
    }
  }
  public static func == (a: JSONObject, b: JSONObject) -> Bool {
    a.entries.count == b.entries.count && zip(a.entries, b.entries).allSatisfy { $0.key == $1.key && $0.value == $1.value }
  }
}
