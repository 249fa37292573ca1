internal import Platform

/// Names that headers give the files with their voxels.
enum DataFileName {
  /// Where such a file lies: beside the header or below its folder, never elsewhere, so that a header from a stranger opens only what came
  /// with it. Throws: `.unsupported` for other names, `.io` for a missing file.
  static func path(_ name: String, of header: String) throws(MedDINOError) -> String {
    guard !name.isEmpty, !name.utf8.contains(0) else { throw .format("\(header): the name of its data file is \(HeaderText.quoted(name))") }
    guard !name.hasPrefix("/"), !name.split(separator: "/").contains("..") else {
      throw .unsupported(
        "\(header): its data file \(HeaderText.quoted(name)) may lie outside the header's folder, expected a file in this folder or below")
    }
    let path = header.contains("/") ? folderPath(of: header) + "/" + name : name
    guard FileKind.of(path) != .missing else { throw .io("\(path): the voxels of \(header) are missing") }
    return path
  }

  static let mostFiles = 65536

  /// Each file holds as many of the first axes; of all of them: then the slowest is divided among the files.
  /// Throws: `.format` when the number of files does not fit the extents, `.unsupported` above `mostFiles`.
  static func checkCount(_ count: Int, _ extents: [Int], axesPerFile axes: Int, of header: String) throws(MedDINOError) {
    guard (1...extents.count).contains(axes), let slowest = extents.last else {
      throw .format("\(header): \(axes) axes in each data file, expected 1 to \(extents.count)")
    }
    let wanted = axes == extents.count ? nil : try Checked.product(extents[axes...], "\(header): sizes \(extents)")
    guard count > 0, wanted.map({ $0 == count }) ?? (slowest % count == 0) else {
      throw .format("\(header): \(count) data files for sizes \(extents), expected \(wanted.map(String.init) ?? "a divisor of \(slowest)")")
    }
    guard count <= mostFiles else { throw .unsupported("\(header): \(count) data files, expected at most \(mostFiles)") }
  }

  /// The name of the data file that is written beside a header: the header's own with another ending.
  /// Throws: `.invalid` for names that the header's text would not give back.
  static func beside(_ header: String, replacing ending: String, by other: String) throws(MedDINOError) -> (path: String, name: String) {
    let path = String(header.dropLast(ending.count)) + other
    let name = fileName(path)
    let isPlain = name.unicodeScalars.allSatisfy { $0.value >= 32 && $0.value != 127 && $0 != "%" }
    guard isPlain, HeaderText.trimmed(name) == name, !name.hasPrefix("LIST"), !name.hasPrefix(other) else {
      throw .invalid("\(header): the name of its data file would be \(HeaderText.quoted(name)), which headers cannot say")
    }
    return (path, name)
  }
}

/// Numbered names: "slice%03d.raw".
struct NumberedName {
  private let prefix: String
  private let suffix: String
  private let width: Int
  private let filler: Character

  /// nil when the text does not hold exactly one "%", or that one is not followed by "d", with a width of at most two digits between.
  init?(_ text: String) {
    let parts = text.split(separator: "%", omittingEmptySubsequences: false)
    guard parts.count == 2, let end = parts[1].firstIndex(of: "d") else { return nil }
    let digits = parts[1][..<end]
    guard digits.count <= 3, digits.allSatisfy({ $0.isASCII && $0.isNumber }) else { return nil }
    prefix = String(parts[0])
    suffix = String(parts[1][parts[1].index(after: end)...])
    filler = digits.hasPrefix("0") ? "0" : " "
    width = Int(digits) ?? 0
  }

  func name(_ number: Int) -> String {
    let digits = String(number.magnitude)
    let sign = number < 0 ? "-" : ""
    let missing = String(repeating: filler, count: max(0, width - digits.count - sign.count))
    return prefix + (filler == "0" ? sign + missing : missing + sign) + digits + suffix
  }
}
