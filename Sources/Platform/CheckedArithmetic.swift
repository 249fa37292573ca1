/// Overflow-safe products and sums for sizes that come from callers and files.
/// Throws: `.format` or the given kind, naming `what`, when the result does not fit in `Int`.
public enum Checked {
  public static func product(
    _ factors: some Sequence<Int>, _ what: @autoclosure () -> String, kind: MedDINOError.Kind = .format
  ) throws(MedDINOError) -> Int {
    var result = 1
    for factor in factors {
      let (value, overflow) = result.multipliedReportingOverflow(by: factor)
      guard !overflow, factor >= 0 else {
        throw MedDINOError(kind, "\(what()): size is negative or does not fit in 64 bits")
      }
      result = value
    }
    return result
  }

  public static func sum(
    _ a: Int, _ b: Int, _ what: @autoclosure () -> String, kind: MedDINOError.Kind = .format
  ) throws(MedDINOError) -> Int {
    let (value, overflow) = a.addingReportingOverflow(b)
    guard !overflow else { throw MedDINOError(kind, "\(what()): size does not fit in 64 bits") }
    return value
  }
}

/// Counts of estimates, which may exceed any machine: a value that does not fit becomes the largest.
extension Int {
  public init(saturating value: Double) {
    self = value.isNaN || value <= 0 ? 0 : value >= Double(Int.max) ? Int.max : Int(value)
  }
  /// The sum of counts of at least 0.
  public static func saturatingSum(_ values: Int...) -> Int {
    values.reduce(0) { sum, value in
      let (result, overflow) = sum.addingReportingOverflow(value)
      return overflow ? Int.max : result
    }
  }
}
