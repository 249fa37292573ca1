// Conformance with the official code, driven by the manifests of the golden folders.
//
// A golden folder has `model/manifest.json` and `nnunet/manifest-nnunet.json`; both list files, tensors and tolerances. A check is
// registered for file names by a glob and gets a `GoldenFile`: it reads inputs and parameters from it, computes, and calls one of
// the `compare` functions, which look up the tolerance, count, and remember the worst tensor. Checks live in `<Topic>Goldens.swift`
// as `let <topic>Goldens: [GoldenCheck]` and are gathered in `GoldenTests.swift`. A check throws only when it cannot go on.
import Platform
import Tensors
import TestSupport
import WeightFiles

struct GoldenCheck: Sendable {
  /// Globs of the manifest's file names, such as "encoder_*.safetensors" or "predict/*".
  let files: [String]
  let run: @Sendable (GoldenFile) throws -> Void
  init(_ files: String..., run: @escaping @Sendable (GoldenFile) throws -> Void) {
    self.files = files
    self.run = run
  }
}

/// How close a value has to be. `rmsLimit` replaces the element-wise test where it is set.
struct GoldenTolerance {
  var absolute = 0.0
  var relative = 0.0
  var rootMeanSquare: Double?
  /// Allowed fraction of differing elements.
  var mismatch: Double?
  /// Units in the last place of a float16.
  var halfUlp: Double?
}

/// One file of a manifest, with what was compared so far.
final class GoldenFile {
  /// The manifest's name, relative to `folder`.
  let name: String
  /// `<root>/model` or `<root>/nnunet`.
  let folder: String
  let entry: JSON
  let budget = MemoryBudget()
  private(set) var compared: Set<String> = []
  private(set) var failures: [String] = []
  private(set) var worst: (name: String, error: Double) = ("", 0)
  private var opened: [String: SafeTensorsFile] = [:]

  init(name: String, folder: String, entry: JSON) {
    self.name = name
    self.folder = folder
    self.entry = entry
  }

  var path: String { folder + "/" + name }
  var config: JSON { entry["config"] ?? .null }
  func file(_ relative: String? = nil) throws -> SafeTensorsFile {
    let path = folder + "/" + (relative ?? name)
    if let held = opened[path] { return held }
    let file = try SafeTensorsFile(InputFile(path))
    opened[path] = file
    return file
  }
  func has(_ tensor: String) throws -> Bool { try file().names.contains(tensor) }
  /// A tensor of this file as float32.
  func tensor(_ name: String) throws -> Tensor { try file().tensor(name, in: budget).asFloat32(in: budget) }
  func floats(_ name: String) throws -> [Float] { try tensor(name).floatArray() }
  func doubles(_ name: String) throws -> [Double] {
    let tensor = try file().tensor(name, in: budget)
    return (0..<tensor.count).map { tensor.value($0) }
  }

  // MARK: comparing

  func compare(_ name: String, _ got: Tensor) throws {
    try compare(name, (0..<got.count).map { got.value($0) })
  }
  func compare(_ name: String, _ got: [Float]) throws { try compare(name, got.map(Double.init)) }
  func compare(_ name: String, _ got: [Int]) throws { try compare(name, got.map(Double.init)) }

  /// Compares with this file's tensor of that name under its tolerance. `strict` multiplies the manifest's rms limit.
  func compare(_ name: String, _ got: [Double], rmsFactor: Double = 0.25) throws {
    let expected = try doubles(name)
    compare(name, got, expected: expected, tolerance(name), rmsFactor: rmsFactor)
  }

  func compare(_ name: String, _ got: [Double], expected: [Double], _ tolerance: GoldenTolerance, rmsFactor: Double = 0.25) {
    compared.insert(name)
    guard got.count == expected.count else { return fail(name, "\(got.count) values, expected \(expected.count)") }
    var error = 0.0
    if let limit = tolerance.rootMeanSquare {
      let sum = zip(got, expected).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
      error = (sum / Double(max(got.count, 1))).squareRoot() / (limit * rmsFactor)
    } else if let allowed = tolerance.mismatch {
      let differing = zip(got, expected).filter { $0.0 != $0.1 }.count
      error = allowed == 0 ? (differing == 0 ? 0 : .infinity) : Double(differing) / Double(max(got.count, 1)) / allowed
    } else {
      for (a, b) in zip(got, expected) { error = max(error, excess(a, b, tolerance)) }
    }
    note(name, error)
  }

  /// Error in units of what is allowed: above 1 fails.
  private func excess(_ a: Double, _ b: Double, _ tolerance: GoldenTolerance) -> Double {
    if a == b || (a.isNaN && b.isNaN) { return 0 }
    guard a.isFinite, b.isFinite else { return .infinity }
    var allowed = tolerance.absolute + tolerance.relative * abs(b)
    if let ulps = tolerance.halfUlp {
      let exponent = max(b.magnitude, 0x1p-14).exponent
      allowed = max(allowed, ulps * Double(sign: .plus, exponent: Int(exponent) - 10, significand: 1))
    }
    return allowed > 0 ? abs(a - b) / allowed : .infinity
  }

  func note(_ name: String, _ error: Double) {
    compared.insert(name)
    if !(error <= worst.error) { worst = (name, error) }
    if !(error <= 1) { failures.append("\(name): \(short(error)) times the tolerance") }
  }
  func fail(_ name: String, _ reason: String) {
    compared.insert(name)
    worst = (name, .infinity)
    failures.append("\(name): \(reason)")
  }
  /// A condition that has no tensor, such as an exact text.
  func expect(_ holds: Bool, _ name: String, _ reason: @autoclosure () -> String = "does not hold") {
    if holds { note(name, 0) } else { fail(name, reason()) }
  }
  func short(_ value: Double) -> String { value.isFinite ? DecimalText.fixed(value, digits: value < 10 ? 3 : 0) : "infinitely many" }

  /// The manifest's tolerance: `rules` where it has them, else the tensor's own, else the file's default.
  func tolerance(_ name: String) -> GoldenTolerance {
    if let rules = entry["rules"]?.arrayValue {
      for rule in rules where matches(rule["match"]?.stringValue ?? "*", name) {
        if let dtype = rule["dtype"]?.stringValue,
          !(entry["tensors"]?[name]?["dtype"]?.stringValue ?? "").hasSuffix(dtype == "F16" ? "float16" : dtype)
        {
          continue
        }
        return GoldenTolerance(
          absolute: rule["atol"]?.doubleValue ?? 0, relative: rule["rtol"]?.doubleValue ?? 0, rootMeanSquare: nil,
          mismatch: rule["mismatch"]?.doubleValue, halfUlp: rule["half_ulp"]?.doubleValue)
      }
      return GoldenTolerance()
    }
    let own = entry["tensors"]?[name]
    let standard = entry["default_tolerance"]
    return GoldenTolerance(
      absolute: own?["atol"]?.doubleValue ?? standard?["atol"]?.doubleValue ?? 0,
      relative: own?["rtol"]?.doubleValue ?? standard?["rtol"]?.doubleValue ?? 0, rootMeanSquare: own?["rms_atol"]?.doubleValue)
  }

  /// Compares JSON trees; `path` names are joined by "/". Numbers follow the rules, everything else must be equal.
  func compare(json got: JSON, _ expected: JSON, path: String = "") {
    switch (got, expected) {
    case (.object(let a), .object(let b)):
      for (key, value) in b.entries {
        let at = path.isEmpty ? key : path + "/" + key
        if let mine = a[key] { compare(json: mine, value, path: at) } else { fail(at, "missing") }
      }
    case (.array(let a), .array(let b)):
      guard a.count == b.count else { return fail(path, "\(a.count) entries, expected \(b.count)") }
      for (index, pair) in zip(a, b).enumerated() { compare(json: pair.0, pair.1, path: path + "/\(index)") }
    default:
      if let x = number(got), let y = number(expected) { return note(path, excess(x, y, tolerance(path))) }
      expect(got == expected, path, "is \(got), expected \(expected)")
    }
  }
  /// Goldens write NaN and infinities as strings.
  private func number(_ value: JSON) -> Double? {
    switch value {
    case .string("NaN"): .nan
    case .string("Infinity"): .infinity
    case .string("-Infinity"): -.infinity
    case .integer, .number: value.doubleValue
    default: nil
    }
  }
}

/// Shell-style match with `*` only.
func matches(_ pattern: String, _ text: String) -> Bool {
  let (p, t) = (Array(pattern.utf8), Array(text.utf8))
  var (i, j, star, mark) = (0, 0, -1, 0)
  while j < t.count {
    if i < p.count, p[i] == UInt8(ascii: "*") {
      (star, mark) = (i, j)
      i += 1
    } else if i < p.count, p[i] == t[j] {
      i += 1
      j += 1
    } else if star >= 0 {
      i = star + 1
      mark += 1
      j = mark
    } else {
      return false
    }
  }
  return p[i...].allSatisfy { $0 == UInt8(ascii: "*") }
}
