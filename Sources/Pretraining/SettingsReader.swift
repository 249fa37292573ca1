internal import Platform
internal import WeightFiles

/// Reads values of a settings document by path, such as "optim.clip_grad".
struct SettingsReader {
  let document: JSON
  init(_ document: JSON) { self.document = document }

  /// nil when it is absent or null.
  func value(_ path: String) -> JSON? {
    var at: JSON? = document
    for key in path.split(separator: ".") { at = at?[String(key)] }
    return at == .null ? nil : at
  }

  func number(_ path: String, in range: ClosedRange<Double>) throws(MedDINOError) -> Double {
    guard let number = try optionalNumber(path, in: range) else { throw .invalid("\(path) is null, expected a number") }
    return number
  }
  func optionalNumber(_ path: String, in range: ClosedRange<Double>) throws(MedDINOError) -> Double? {
    guard let value = value(path) else { return nil }
    guard let number = value.doubleValue, range.contains(number) else {
      throw .invalid("\(path) is \(value.text()), expected a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }
  func integer(_ path: String, in range: ClosedRange<Int>) throws(MedDINOError) -> Int {
    guard let number = try optionalInteger(path, in: range) else { throw .invalid("\(path) is null, expected a whole number") }
    return number
  }
  func optionalInteger(_ path: String, in range: ClosedRange<Int>) throws(MedDINOError) -> Int? {
    guard let value = value(path) else { return nil }
    guard let number = value.intValue, range.contains(number) else {
      throw .invalid("\(path) is \(value.text()), expected a whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }
  func flag(_ path: String) throws(MedDINOError) -> Bool {
    guard let flag = value(path)?.boolValue else { throw .invalid("\(path) is \(text(of: path)), expected true or false") }
    return flag
  }
  func text(_ path: String, oneOf names: [String]? = nil) throws(MedDINOError) -> String {
    guard let text = value(path)?.stringValue else { throw .invalid("\(path) is \(text(of: path)), expected a text") }
    if let names, !names.contains(text) { throw .invalid("\(path) is \"\(text)\", expected \(names.joined(separator: ", "))") }
    return text
  }
  func optionalText(_ path: String) throws(MedDINOError) -> String? {
    guard value(path) != nil else { return nil }
    let text = try text(path)
    return text.isEmpty ? nil : text
  }
  /// A number or a list of numbers; nil when null.
  func numbers(_ path: String, in range: ClosedRange<Double>) throws(MedDINOError) -> [Double]? {
    guard let value = value(path) else { return nil }
    let list = value.arrayValue ?? [value]
    let numbers = list.compactMap(\.doubleValue).filter { range.contains($0) }
    guard numbers.count == list.count, !list.isEmpty else {
      throw .invalid("\(path) is \(value.text()), expected numbers from \(range.lowerBound) to \(range.upperBound)")
    }
    return numbers
  }
  func sizes(_ path: String) throws(MedDINOError) -> [Int]? {
    guard let numbers = try numbers(path, in: 1...65536) else { return nil }
    let whole = numbers.compactMap { Int(exactly: $0) }
    guard whole.count == numbers.count else { throw .invalid("\(path) is \(text(of: path)), expected whole numbers") }
    return whole
  }
  /// [low, high] with low <= high.
  func range(_ path: String, in range: ClosedRange<Double>) throws(MedDINOError) -> ClosedRange<Double> {
    guard let numbers = try numbers(path, in: range), numbers.count == 2, numbers[0] <= numbers[1] else {
      throw .invalid("\(path) is \(text(of: path)), expected two ascending numbers")
    }
    return numbers[0]...numbers[1]
  }

  private func text(of path: String) -> String { (value(path) ?? .null).text() }
}

/// Lays documents over each other.
enum SettingsMerge {
  /// `base` with the values of `overlay`. Objects are merged key by key; everything else is replaced.
  ///
  /// Throws: `.invalid` naming all keys of the overlay that the template does not have, or a section that is no object.
  static func merged(_ base: JSON, _ overlay: JSON, template: JSON) throws(MedDINOError) -> JSON {
    var unknown: [String] = []
    let result = try merged(base, overlay, template: template, path: "", &unknown)
    guard unknown.isEmpty else {
      let names = unknown.prefix(50).map { "\"\($0)\"" }.joined(separator: ", ")
      throw .invalid("unknown key \(names)\(unknown.count > 50 ? " and \(unknown.count - 50) more" : "") of the pretraining settings")
    }
    return result
  }

  private static func merged(
    _ base: JSON, _ overlay: JSON, template: JSON, path: String, _ unknown: inout [String]
  ) throws(MedDINOError) -> JSON {
    guard let keys = overlay.objectValue, let allowed = template.objectValue else { return overlay }
    var result = base.objectValue ?? JSONObject()
    for entry in keys.entries {
      let place = path.isEmpty ? entry.key : path + "." + entry.key
      guard let inside = allowed[entry.key] else {
        unknown.append(place)
        continue
      }
      if inside.objectValue != nil, entry.value.objectValue == nil, !entry.value.isNull {
        throw .invalid("\(place) is \(entry.value.text()), expected an object")
      }
      result[entry.key] = try merged(result[entry.key] ?? .null, entry.value, template: inside, path: place, &unknown)
    }
    return .object(result)
  }
}
