import FineTuning
import Imaging
import Platform
import Tensors
import TestSupport
import Testing

private func randomImage(_ seed: UInt64, channels: Int = 2, rows: Int = 23, columns: Int = 30) throws -> Tensor {
  var random = SeededGenerator(seed)
  return try Tensor(random.floats(channels * rows * columns, in: -2...3), Shape([channels, rows, columns]), in: MemoryBudget())
}
private func moments(_ values: ArraySlice<Float>) -> (mean: Double, deviation: Double) {
  let mean = values.reduce(0.0) { $0 + Double($1) } / Double(values.count)
  let squares = values.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
  return (mean, (squares / Double(values.count - 1)).squareRoot())
}

@Test func noiseIsNormalAndTheSameForAllChannels() throws {
  let image = try imageTensor([2, 150, 151]) { channel, _, _ in Float(channel) }
  let field = CounterRandom(seed: 3, purpose: "test")
  try GaussianNoise.apply(.init(deviation: 0.04, field: field), to: image, workspace: Workspace(MemoryBudget()))
  let values = image.floatArray()
  let count = 150 * 151
  let (mean, deviation) = moments(values[..<count])
  #expect(abs(mean) < 5 * 0.04 / Double(count).squareRoot())
  #expect(abs(deviation - 0.04) < 0.04 * 5 / (2 * Double(count)).squareRoot())
  for limit in [1.0, 2.0, 3.0] {
    let within = values[..<count].count { abs(Double($0)) < limit * 0.04 }
    #expect(isPlausible(within, of: count, probability: [0.682_689, 0.954_500, 0.997_300][Int(limit) - 1]))
  }
  // Neighbours do not know of each other, neither along nor across the pairs of the generator.
  for step in [1, 2, 3, 4, 151] {
    let product = (0..<count - step).reduce(0.0) { $0 + Double(values[$1] * values[$1 + step]) } / (0.04 * 0.04)
    #expect(abs(product) < 5 * Double(count).squareRoot())
  }
  for index in 0..<count { #expect(abs(values[count + index] - 1 - values[index]) < 1e-6) }
  let again = try imageTensor([1, 150, 151]) { _, _, _ in 0 }
  try GaussianNoise.apply(.init(deviation: 0.04, field: field), to: again, workspace: Workspace(MemoryBudget()))
  #expect(again.floatArray() == Array(values[..<count]))
}

@Test func blurIsTheFullKernelWithMirroredBorder() throws {
  for (rows, columns) in [(23, 30), (2, 9), (1, 5), (4, 2)] {
    let image = try randomImage(5, rows: rows, columns: columns)
    let before = image.floatArray()
    try GaussianBlur.apply([.init(rows: 1, columns: 0.62), nil], to: image, workspace: Workspace(MemoryBudget()))
    let after = image.floatArray()
    let (down, across) = (GaussianBlur.kernel(1), GaussianBlur.kernel(0.62))
    #expect(down.count == 7 && across.count == 5)
    func mirrored(_ index: Int, _ count: Int) -> Int {
      var index = index
      while count > 1, index < 0 || index >= count { index = index < 0 ? -index : 2 * (count - 1) - index }
      return count > 1 ? index : 0
    }
    for row in 0..<rows {
      for column in 0..<columns {
        var sum = 0.0
        for (i, a) in down.enumerated() {
          for (j, b) in across.enumerated() {
            sum += Double(a * b) * Double(before[mirrored(row + i - 3, rows) * columns + mirrored(column + j - 2, columns)])
          }
        }
        #expect(abs(sum - Double(after[row * columns + column])) < 1e-5)
      }
    }
    #expect(Array(after[(rows * columns)...]) == Array(before[(rows * columns)...]))
  }
}

@Test func kernelsAreOddAndSumToOne() {
  for step in 0...100 {
    let deviation = 0.5 + 0.005 * Double(step)
    let kernel = GaussianBlur.kernel(deviation)
    #expect([3, 5, 7].contains(kernel.count) && abs(kernel.reduce(0, +) - 1) < 1e-6 && kernel == Array(kernel.reversed()))
    #expect(abs(Double(kernel.count) - (6 * deviation + 0.5)) <= 1.0001)
  }
}

@Test func contrastStaysInRangeAndBrightnessScales() throws {
  let image = try randomImage(6)
  let before = image.floatArray()
  try Contrast.apply([1.25, 0.8], to: image)
  let after = image.floatArray()
  for channel in 0..<2 {
    let (a, b) = (before[channel * 690..<(channel + 1) * 690], after[channel * 690..<(channel + 1) * 690])
    #expect((b.min() ?? 0) >= (a.min() ?? 0) && (b.max() ?? 0) <= (a.max() ?? 0))
    let (mean, factor) = (moments(a).mean, [1.25, 0.8][channel])
    for (x, y) in zip(a, b) {
      let expected = min(max((Double(x) - mean) * factor + mean, Double(a.min() ?? 0)), Double(a.max() ?? 0))
      #expect(abs(Double(y) - expected) < 1e-5)
    }
  }
  try Brightness.apply([2, 1], to: image)
  #expect(image.floatArray() == after.enumerated().map { $0 < 690 ? $1 * 2 : $1 })
}

@Test(arguments: [false, true]) func gammaRetainsStatistics(inverts: Bool) throws {
  let image = try randomImage(7)
  let before = image.floatArray()
  try Gamma.apply(.init(exponents: [0.7, 1.5], inverts: inverts), to: image)
  let after = image.floatArray()
  for channel in 0..<2 {
    let (a, b) = (before[channel * 690..<(channel + 1) * 690], after[channel * 690..<(channel + 1) * 690])
    let (old, new) = (moments(a), moments(b))
    #expect(abs(old.mean - new.mean) < 1e-5 && abs(old.deviation - new.deviation) < 1e-5)
    // The order of the values stays.
    let order = zip(a, b).sorted { $0.0 < $1.0 }.map(\.1)
    #expect(zip(order, order.dropFirst()).allSatisfy { $0 <= $1 + 1e-5 })
  }
  // Without a range nothing is left to stretch; nothing breaks either.
  let flat = try imageTensor([2, 4, 4]) { channel, _, _ in Float(channel) - 3 }
  try Gamma.apply(.init(exponents: [0.7, 1.5], inverts: inverts), to: flat)
  #expect(flat.floatArray().enumerated().allSatisfy { abs($1 - (Float($0 / 16) - 3)) < 1e-5 })
}

@Test func lowResolutionKeepsFlatImagesAndLosesDetail() throws {
  let flat = try imageTensor([1, 21, 30]) { _, _, _ in 2.5 }
  try LowResolution.apply([0.5], to: flat, workspace: Workspace(MemoryBudget()))
  #expect(flat.floatArray().allSatisfy { abs($0 - 2.5) < 1e-6 })
  let image = try randomImage(8)
  let before = image.floatArray()
  try LowResolution.apply([nil, 1], to: image, workspace: Workspace(MemoryBudget()))
  #expect(zip(image.floatArray(), before).allSatisfy { abs($0 - $1) < 1e-5 })
  try LowResolution.apply([0.5, nil], to: image, workspace: Workspace(MemoryBudget()))
  #expect(moments(image.floatArray()[..<690]).deviation < 0.9 * moments(before[..<690]).deviation)
  #expect(throws: MedDINOError.self) { try LowResolution.apply([0, nil], to: image, workspace: Workspace(MemoryBudget())) }
}

@Test func mirroringTwiceChangesNothing() throws {
  for (rows, columns) in [(8, 9), (7, 4), (1, 3)] {
    let image = try randomImage(9, rows: rows, columns: columns)
    let labels = try labelTensor(rows, columns) { $0 * columns + $1 }
    let (before, beforeLabels) = (image.floatArray(), labelArray(labels))
    for parameters in [Mirror.Parameters(rows: true, columns: false), .init(rows: false, columns: true), .init(rows: true, columns: true)] {
      try Mirror.apply(parameters, image: image, labels: labels)
      for row in 0..<rows {
        for column in 0..<columns {
          let source = (parameters.rows ? rows - 1 - row : row) * columns + (parameters.columns ? columns - 1 - column : column)
          #expect(labelArray(labels)[row * columns + column] == Int16(source))
          #expect(image.floats[(rows + row) * columns + column] == before[rows * columns + source])
        }
      }
      try Mirror.apply(parameters, image: image, labels: labels)
      #expect(image.floatArray() == before && labelArray(labels) == beforeLabels)
    }
  }
}

@Test func targetsOfRegionsAndLabels() throws {
  let labels = try labelTensor(1, 6) { [-1, 0, 1, 2, 3, 4][$1 + 6 * $0] }
  try TargetEncoding.removeOutside(labels)
  #expect(labelArray(labels) == [0, 0, 1, 2, 3, 4])
  let regions = TargetEncoding(try regionScheme())
  #expect(regions.channels == 4)
  let target = try Tensor([4, 1, 6], .int16, in: MemoryBudget())
  try regions.encode(labels, into: target)
  #expect(labelArray(target) == [0, 0, 1, 1, 1, 0] + [0, 0, 0, 1, 1, 0] + [0, 0, 0, 1, 0, 0] + [0, 0, 0, 0, 0, 1])
  let plain = TargetEncoding(try scheme(#"{"background":0,"liver":1,"spleen":2,"kidney":3,"ignore":4}"#))
  let same = try Tensor([1, 1, 6], .int16, in: MemoryBudget())
  try plain.encode(labels, into: same)
  #expect(plain.channels == 1 && labelArray(same) == labelArray(labels))
  #expect(throws: MedDINOError.self) { try regions.encode(labels, into: same) }
  let image = try imageTensor([2, 1, 6]) { _, _, _ in 1 }
  let outside = try labelTensor(1, 6) { $1 % 2 - 1 }
  try TargetEncoding.maskImage(image, labels: outside, channels: [false, true])
  #expect(image.floatArray() == [1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 1])
}

@Test func parametersMustFitTheChannels() throws {
  let image = try randomImage(10)
  let workspace = Workspace(MemoryBudget())
  #expect(throws: MedDINOError.self) { try Brightness.apply([1], to: image) }
  #expect(throws: MedDINOError.self) { try Contrast.apply([1, 1, 1], to: image) }
  #expect(throws: MedDINOError.self) { try Gamma.apply(.init(exponents: [], inverts: false), to: image) }
  #expect(throws: MedDINOError.self) { try GaussianBlur.apply([nil], to: image, workspace: workspace) }
  #expect(throws: MedDINOError.self) { try LowResolution.apply([nil], to: image, workspace: workspace) }
}
