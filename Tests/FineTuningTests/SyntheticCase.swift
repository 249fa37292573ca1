import FineTuning
import Platform
import Segmentation
import Tensors

/// A small case in memory, made by formulas.
struct SyntheticCase: TrainingCase {
  let identifier: String
  let shape: [Int]
  let locations: [ForegroundLocations]
  let image: [Float]
  let labels: [Int16]
  /// Reading throws this.
  var failure: MedDINOError?

  /// `label` and `value` get (slice, row, column); images also the channel first.
  init(
    _ identifier: String = "case", shape: [Int], scheme: LabelScheme, in budget: MemoryBudget = MemoryBudget(),
    label: (Int, Int, Int) -> Int, value: (Int, Int, Int, Int) -> Float
  ) throws {
    self.identifier = identifier
    self.shape = shape
    var image: [Float] = []
    var labels: [Int16] = []
    for channel in 0..<shape[0] {
      for slice in 0..<shape[1] {
        for row in 0..<shape[2] { image += (0..<shape[3]).map { value(channel, slice, row, $0) } }
      }
    }
    for slice in 0..<shape[1] {
      for row in 0..<shape[2] { labels += (0..<shape[3]).map { Int16(label(slice, row, $0)) } }
    }
    self.image = image
    self.labels = labels
    let tensor = try Tensor(Shape([1] + shape.dropFirst()), .int16, in: budget)
    _ = tensor.elements(Int16.self).initialize(from: labels)
    locations = try ForegroundLocations.sample(tensor, keys: scheme.locationKeys, in: budget)
  }

  func imageValue(_ channel: Int, _ slice: Int, _ row: Int, _ column: Int) -> Float {
    image[((channel * shape[1] + slice) * shape[2] + row) * shape[3] + column]
  }
  func labelValue(_ slice: Int, _ row: Int, _ column: Int) -> Int16 { labels[(slice * shape[2] + row) * shape[3] + column] }

  func readImage(
    channel: Int, slice: Int, rows: Range<Int>, columns: Range<Int>, into out: UnsafeMutablePointer<Float>
  ) throws(MedDINOError) {
    if let failure { throw failure }
    for (index, row) in rows.enumerated() {
      for (place, column) in columns.enumerated() { out[index * columns.count + place] = imageValue(channel, slice, row, column) }
    }
  }
  func readLabels(slice: Int, rows: Range<Int>, columns: Range<Int>, into out: UnsafeMutablePointer<Int16>) throws(MedDINOError) {
    if let failure { throw failure }
    for (index, row) in rows.enumerated() {
      for (place, column) in columns.enumerated() { out[index * columns.count + place] = labelValue(slice, row, column) }
    }
  }
}

/// Labels 0...3.
func plainScheme() throws -> LabelScheme {
  try scheme(#"{"background":0,"liver":1,"spleen":2,"kidney":3}"#)
}
/// Regions (1, 2, 3), (2, 3), 2 and an ignore label 4.
func regionScheme() throws -> LabelScheme {
  try scheme(#"{"background":0,"kidney":[1,2,3],"masses":[2,3],"tumor":2,"ignore":4}"#, order: "[1,3,2]")
}
func scheme(_ labels: String, order: String? = nil) throws -> LabelScheme {
  let text = """
    {"channel_names":{"0":"CT"},"labels":\(labels),\(order.map { "\"regions_class_order\":\($0)," } ?? "")
    "numTraining":1,"file_ending":".nii.gz"}
    """
  return try LabelScheme(DatasetDescription.parse(Array(text.utf8)))
}

func configuration(_ patch: [Int], channels: Int = 1, masked: [Bool]? = nil, batchSize: Int = 4) -> Plan.Configuration {
  Plan.Configuration(
    name: "2d", patchSize: patch, spacing: [1, 1], normalization: [NormalizationScheme](repeating: .zScore, count: channels),
    useMaskForNorm: masked, batchSize: batchSize)
}

func imageTensor(_ shape: [Int], in budget: MemoryBudget = MemoryBudget(), _ value: (Int, Int, Int) -> Float) throws -> Tensor {
  let result = try Tensor(Shape(shape), in: budget)
  for channel in 0..<shape[0] {
    for row in 0..<shape[1] {
      for column in 0..<shape[2] { result.floats[(channel * shape[1] + row) * shape[2] + column] = value(channel, row, column) }
    }
  }
  return result
}
func labelTensor(_ rows: Int, _ columns: Int, in budget: MemoryBudget = MemoryBudget(), _ value: (Int, Int) -> Int) throws -> Tensor {
  let result = try Tensor([1, rows, columns], .int16, in: budget)
  for row in 0..<rows {
    for column in 0..<columns { result.elements(Int16.self)[row * columns + column] = Int16(value(row, column)) }
  }
  return result
}
func labelArray(_ tensor: Tensor) -> [Int16] { withExtendedLifetime(tensor) { Array(tensor.elements(Int16.self)) } }

/// `count` successes of `trials` are within five standard deviations of what the probability lets expect.
func isPlausible(_ count: Int, of trials: Int, probability: Double) -> Bool {
  let spread = (Double(trials) * probability * (1 - probability)).squareRoot()
  return abs(Double(count) - Double(trials) * probability) <= 5 * spread + 1e-9
}
