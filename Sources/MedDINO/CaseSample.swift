internal import FineTuning
internal import Platform
internal import WeightFiles

/// What a run remembers of a case: its shape and a few values from its middle, by which a resume notices that it is given other data.
///
/// Another image has other values there; the same one, preprocessed again on another machine, has the same up to rounding.
struct CaseSample: Equatable, Sendable {
  /// [channels, slices, rows, columns].
  let shape: [Int]
  /// Of the first channel.
  let values: [Double]
  private static let columns = 8
  private static let tolerance = 0.01

  /// Throws: `.io`, `.format`.
  init(_ source: any TrainingCase) throws(MedDINOError) {
    shape = source.shape
    let (slices, row, width) = (source.shape[1], source.shape[2] / 2, source.shape[3])
    var line = [Float](repeating: 0, count: width)
    var values: [Double] = []
    for quarter in 1...3 {
      try line.withUnsafeMutableBufferPointer { (buffer) throws(MedDINOError) in
        guard let base = buffer.baseAddress else { return }
        try source.readImage(channel: 0, slice: slices * quarter / 4, rows: row..<row + 1, columns: 0..<width, into: base)
      }
      for part in 1...Self.columns {
        let value = Double(line[width * part / (Self.columns + 1)])
        values.append(value.isFinite ? (value * 1000).rounded() / 1000 : 0)
      }
    }
    self.values = values
  }

  var json: JSON { .object(("shape", .integers(shape)), ("values", .numbers(values))) }
  /// nil for what is none.
  init?(_ json: JSON) {
    guard let shape = json["shape"]?.arrayValue, let values = json["values"]?.arrayValue else { return nil }
    self.shape = shape.compactMap(\.intValue)
    self.values = values.compactMap(\.doubleValue)
    guard self.shape.count == 4, self.values.count == values.count else { return nil }
  }

  func agrees(with other: CaseSample) -> Bool {
    shape == other.shape && values.count == other.values.count
      && zip(values, other.values).allSatisfy { ($0 - $1).magnitude <= Self.tolerance * max(1, $0.magnitude) }
  }
}
