import Platform
@testable import Probing
import Tensors
import TestSupport
import Testing

private func device(threads: Int = 2) throws -> CPUDevice { try CPUDevice(pool: ThreadPool(threads: threads), budget: MemoryBudget()) }

/// Tokens that say what the mean of their patch is, with a random rotation and noise; or nothing at all.
private struct MeanEncoder: DenseEncoder {
  let patchSize = 4
  var noise: Float = 0.05
  var isBlind = false

  func patchTokens(_ slice: Tensor, _ grid: PatchGrid, control: RunControl) throws(MedDINOError) -> Tensor {
    let tokens = try Tensor([grid.rows * grid.columns, 6], in: MemoryBudget())
    var random = SeededGenerator(UInt64(slice.floats[0].bitPattern))
    for patch in 0..<grid.rows * grid.columns {
      var mean: Float = 0
      let (top, left) = (patch / grid.columns * patchSize, patch % grid.columns * patchSize)
      for y in top..<min(top + patchSize, slice.shape[0]) {
        for x in left..<min(left + patchSize, slice.shape[1]) { mean += slice.floats[y * slice.shape[1] + x] / 16 }
      }
      let wave = random.floats(6, in: -noise...noise)
      for j in 0..<6 {
        tokens.floats[patch * 6 + j] = wave[j] + (isBlind ? 0.1 : j == 0 ? 1 : j == 1 ? mean / 100 : j == 2 ? mean * mean / 10000 : 0)
      }
    }
    return tokens
  }
}

/// Slices of one case: a square of label 1 (100 HU) and one of label 2 (-100 HU) that move about.
private func slices(_ count: Int, cases: Int = 1) throws -> LabelledSlices {
  var result: [LabelledSlice] = []
  for index in 0..<count {
    let (pixels, classes) = (try Tensor([32, 40], in: MemoryBudget()), try Tensor([32, 40], .int16, in: MemoryBudget()))
    for y in 0..<32 {
      for x in 0..<40 {
        let shift = 4 * (index % 3)
        let label: Int16 = (4..<16).contains(y - shift) && (4..<16).contains(x) ? 1 : (8..<20).contains(y) && (24..<36).contains(x) ? 2 : 0
        classes.elements(Int16.self)[y * 40 + x] = label
        pixels.floats[y * 40 + x] = label == 1 ? 100 : label == 2 ? -100 : 0.001 * Float(index)
      }
    }
    result.append(try LabelledSlice(caseNumber: index * cases / count, pixels: pixels, classes: classes))
  }
  return try LabelledSlices(labels: ["one", "two"], slices: result)
}

@Suite struct ProbeTests {
  @Test func featuresThatSeeAreToldFromThoseThatDoNot() throws {
    let data = try slices(12)
    let seeing = try SegmentationProbe(data, encoder: MeanEncoder(), device: device()).run()
    #expect(seeing.neighbours.mean > 0.85 && seeing.linear.mean > 0.8, "\(seeing)")
    let blind = try SegmentationProbe(data, encoder: MeanEncoder(isBlind: true), device: device()).run()
    #expect(blind.neighbours.mean < 0.4 && blind.linear.mean < 0.5, "\(blind)")
    #expect(seeing.trainingSlices + seeing.heldOutSlices == 12)
    let again = try SegmentationProbe(data, encoder: MeanEncoder(), device: device(threads: 1)).run()
    #expect(again == seeing)
  }

  @Test func shotsAndSeedsChooseSlices() throws {
    let probe = try SegmentationProbe(slices(12, cases: 4), encoder: MeanEncoder(), device: device())
    var options = ProbeOptions()
    options.shots = 2
    #expect(try probe.run(options).trainingSlices == 2)
    options.shots = 100
    let error = #expect(throws: MedDINOError.self) { try probe.run(options) }
    #expect(error?.kind == .invalid && error?.message.contains("shots are 100") == true)
    options = ProbeOptions()
    options.temperature = 0
    #expect(throws: MedDINOError.self) { try probe.run(options) }
  }

  @Test func splitsHoldOutCasesOrBlocks() throws {
    let cases = (0..<30).map { $0 / 10 }
    for seed in 0..<4 as Range<UInt64> {
      let split = try ProbeSplit(cases: cases, seed: seed)
      #expect(Set(split.heldOut.map { cases[$0] }).isDisjoint(with: split.training.map { cases[$0] }))
      #expect(split.heldOut.count == 10 && split.training.count == 20)
      let single = try ProbeSplit(cases: [Int](repeating: 0, count: 40), seed: seed)
      #expect(Set(single.heldOut).isDisjoint(with: single.training) && single.training.count > 8 && single.heldOut.count > 8)
      for slice in single.training { #expect(!single.heldOut.contains(slice - 1) && !single.heldOut.contains(slice + 1)) }
      let few = try ProbeSplit(cases: [Int](repeating: 0, count: 40), seed: seed, shots: 3)
      #expect(few.training.count == 3 && few.heldOut == single.heldOut && Set(few.training).isSubset(of: single.training))
      for count in 2..<9 {
        let small = try ProbeSplit(cases: [Int](repeating: 0, count: count), seed: seed)
        #expect(small.training.count + small.heldOut.count == count)
      }
    }
    #expect(throws: MedDINOError.self) { try ProbeSplit(cases: [0], seed: 0) }
  }

  /// Neighbours and ridge against plain double loops.
  @Test func classifiersMatchAnOracle() throws {
    var random = SeededGenerator(8)
    let (count, dim, classes) = (37, 5, 3)
    let tokens = random.floats(count * dim)
    let bankSlice = try Self.patchSlice(tokens, dim, classes, &random)
    let bank = try PatchBank([bankSlice], classes: classes, limit: 1000, in: MemoryBudget())
    let queries = random.floats(4 * dim)
    let input = try Tensor(queries, [4, dim], in: MemoryBudget())
    func row(_ values: [Float], _ index: Int) -> [Double] { values[index * dim..<(index + 1) * dim].map { Double($0) } }
    func unit(_ x: [Double]) -> [Double] {
      let length = x.reduce(0) { $0 + $1 * $1 }.squareRoot()
      return x.map { $0 / length }
    }
    func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
    let near = try NeighbourClassifier(bank, neighbours: 6, temperature: 0.1, device: device()).scores(input, control: RunControl())
    for query in 0..<4 {
      let found = (0..<count).map { (dot(unit(row(queries, query)), unit(row(tokens, $0))), $0) }.sorted { $0.0 > $1.0 }.prefix(6)
      let total = found.reduce(0) { $0 + exponential($1.0 / 0.1) }
      for label in 0..<classes {
        let vote = found.reduce(0) { $0 + exponential($1.0 / 0.1) * Double(bank.shares[$1.1 * classes + label]) } / total
        #expect(abs(Double(near[query * classes + label]) - vote) < 1e-4)
      }
    }
    // The ridge solution is where the gradient of the weighted squares and the penalty is zero.
    let linear = try LinearClassifier(bank, ridge: 0.02, device: device(), control: RunControl())
    var mass = [Double](repeating: 0, count: classes)
    for (index, share) in bank.shares.enumerated() { mass[index % classes] += Double(share) }
    var weights = (0..<count).map { place in
      (0..<classes).reduce(0.0) { $0 + Double(bank.shares[place * classes + $1]) / mass[$1].squareRoot() }
    }
    let mean = weights.reduce(0, +) / Double(count)
    weights = weights.map { $0 / mean }
    let centre = (0..<dim).map { j in (0..<count).reduce(0.0) { $0 + Double(tokens[$1 * dim + j]) } / Double(count) }
    let deviation = (0..<dim).map { j in
      ((0..<count).reduce(0.0) { $0 + (Double(tokens[$1 * dim + j]) - centre[j]) * (Double(tokens[$1 * dim + j]) - centre[j]) }
        / Double(count))
        .squareRoot()
    }
    for label in 0..<classes {
      let errors = (0..<count).map {
        weights[$0] * (dot(linear.weight[label], row(tokens, $0)) + linear.intercept[label] - Double(bank.shares[$0 * classes + label]))
      }
      #expect(abs(errors.reduce(0, +)) < 1e-4)
      for j in 0..<dim {
        let slope = (0..<count).reduce(0.0) { $0 + errors[$1] * (row(tokens, $1)[j] - centre[j]) / deviation[j] }
        #expect(abs(slope + 0.02 * Double(count) * linear.weight[label][j] * deviation[j]) < 1e-4)
      }
    }
    let scores = try linear.scores(input, control: RunControl())
    #expect(abs(Double(scores[0]) - dot(linear.weight[0], row(queries, 0)) - linear.intercept[0]) < 1e-5)
  }

  /// One row of patches, each of four pixels with random labels.
  private static func patchSlice(_ tokens: [Float], _ dim: Int, _ classes: Int, _ random: inout SeededGenerator) throws -> PatchSlice {
    let count = tokens.count / dim
    let (pixels, labels) = (try Tensor([2, 2 * count], in: MemoryBudget()), try Tensor([2, 2 * count], .int16, in: MemoryBudget()))
    for index in 0..<labels.count {
      pixels.floats[index] = 0
      labels.elements(Int16.self)[index] = Int16.random(in: 0..<Int16(classes), using: &random)
    }
    let slice = try LabelledSlice(caseNumber: 0, pixels: pixels, classes: labels)
    return PatchSlice(
      slice, tokens: try Tensor(tokens, [count, dim], in: MemoryBudget()),
      grid: PatchGrid(rows: 2, columns: 2 * count, patchSize: 2), classes: classes)
  }

  @Test func gridsCoverSlices() {
    let own = PatchGrid(rows: 101, columns: 122, patchSize: 8)
    #expect((own.rows, own.columns, own.height, own.width) == (13, 16, 104, 128))
    let larger = PatchGrid(rows: 100, columns: 50, patchSize: 16, longestSide: 256)
    #expect((larger.rows, larger.columns) == (16, 8))
  }

  @Test func wrongSlicesAreRefused() throws {
    let plane = try Tensor([2, 2], in: MemoryBudget())
    #expect(throws: MedDINOError.self) { try LabelledSlice(caseNumber: 0, pixels: plane, classes: plane) }
    let classes = try Tensor([2, 2], .int16, in: MemoryBudget())
    classes.elements(Int16.self).update(repeating: 5)
    let slice = try LabelledSlice(caseNumber: 0, pixels: plane, classes: classes)
    #expect(throws: MedDINOError.self) { try LabelledSlices(labels: ["a"], slices: [slice, slice]) }
    #expect(throws: MedDINOError.self) { try LabelledSlices(labels: [], slices: [slice, slice]) }
  }
}
