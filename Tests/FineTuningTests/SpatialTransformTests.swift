import FineTuning
import Platform
import Tensors
import TestSupport
import Testing

private func apply(_ parameters: SpatialTransform.Parameters, _ image: Tensor, _ labels: Tensor, to size: [Int]) throws -> (
  image: Tensor, labels: Tensor
) {
  let budget = MemoryBudget()
  let newImage = try Tensor(Shape([image.shape[0]] + size), in: budget)
  let newLabels = try Tensor(Shape([1] + size), .int16, in: budget)
  try SpatialTransform.apply(
    parameters, image: image, labels: labels, newImage: newImage, newLabels: newLabels, workspace: Workspace(budget))
  return (newImage, newLabels)
}

private func near(_ a: [Float], _ b: [Float], _ limit: Float) -> Bool {
  a.count == b.count && zip(a, b).allSatisfy { abs($0 - $1) <= limit }
}

@Test(arguments: [(9, 9), (12, 12), (9, 5), (12, 8), (13, 7)]) func aRightAngleTurnsWholePixels(size: Int, cut: Int) throws {
  var random = SeededGenerator(UInt64(size * 100 + cut))
  let values = random.floats(2 * size * size)
  let image = try imageTensor([2, size, size]) { values[($0 * size + $1) * size + $2] }
  let labels = try labelTensor(size, size) { ($0 * 7 + $1 * 3) % 5 }
  // Counterclockwise as the rows run down: out[row][column] = in[column][last - row], then the middle of it.
  let turned = try apply(.init(angle: .pi / 2), image, labels, to: [cut, cut])
  // A size of the other parity would fall between pixels.
  let offset = (size - cut) / 2
  func source(_ row: Int, _ column: Int) -> (Int, Int) { (column + offset, size - 1 - (row + offset)) }
  let expected = try imageTensor([2, cut, cut]) { channel, row, column in
    let (y, x) = source(row, column)
    return values[(channel * size + y) * size + x]
  }
  #expect(near(turned.image.floatArray(), expected.floatArray(), 1e-5))
  let expectedLabels = try labelTensor(cut, cut) { row, column in
    let (y, x) = source(row, column)
    return (y * 7 + x * 3) % 5
  }
  #expect(labelArray(turned.labels) == labelArray(expectedLabels))
}

@Test func withoutAngleAndZoomItIsTheCentre() throws {
  var random = SeededGenerator(4)
  let values = random.floats(20 * 26)
  let image = try imageTensor([1, 20, 26]) { values[$1 * 26 + $2] }
  let labels = try labelTensor(20, 26) { ($0 + $1) % 3 - 1 }
  let result = try apply(.init(), image, labels, to: [14, 20])
  let expected = try imageTensor([1, 14, 20]) { values[($1 + 3) * 26 + $2 + 3] }
  #expect(near(result.image.floatArray(), expected.floatArray(), 1e-5))
  let expectedLabels = try labelTensor(14, 20) { ($0 + 3 + $1 + 3) % 3 - 1 }
  #expect(labelArray(result.labels) == labelArray(expectedLabels))
}

@Test func zoomAboveOneMakesObjectsSmaller() throws {
  let labels = try labelTensor(41, 41) { abs($0 - 20) <= 10 && abs($1 - 20) <= 10 ? 1 : 0 }
  let image = try imageTensor([1, 41, 41]) { abs($1 - 20) <= 10 && abs($2 - 20) <= 10 ? 1 : 0 }
  func area(_ scale: Double) throws -> Double {
    Double(labelArray(try apply(.init(scale: scale), image, labels, to: [41, 41]).labels).count { $0 == 1 })
  }
  #expect(abs(try area(1.4) - 21 * 21 / 1.96) < 30)
  #expect(abs(try area(0.7) - 21 * 21 / 0.49) < 60)
}

@Test func outsideIsZeroAndTheSmallestLabel() throws {
  let image = try imageTensor([1, 8, 8]) { _, _, _ in 5 }
  let result = try apply(.init(scale: 3), image, try labelTensor(8, 8) { row, _ in row < 4 ? 3 : 2 }, to: [8, 8])
  #expect(result.image.floats[0] == 0 && labelArray(result.labels)[0] == 2)
  #expect(result.image.floats[3 * 8 + 3] == 5 && labelArray(result.labels)[3 * 8 + 3] == 3)
  let padded = try apply(.init(scale: 3), image, try labelTensor(8, 8) { row, _ in row == 7 ? -1 : 4 }, to: [8, 8])
  #expect(labelArray(padded.labels)[63] == -1)
}

/// The label rule written out once more, label by label, as the specification states it.
@Test func labelsFollowTheOfficialRule() throws {
  var random = SeededGenerator(9)
  let (rows, columns) = (15, 17)
  let picture = (0..<rows * columns).map { _ in Int.random(in: -1...3, using: &random) }
  let labels = try labelTensor(rows, columns) { picture[$0 * columns + $1] }
  for (angle, scale) in [(0.4, 1.0), (-2.3, 1.3), (0.0, 0.7), (1.2, 0.9)] {
    let got = labelArray(
      try apply(.init(angle: angle, scale: scale), imageTensor([1, rows, columns]) { _, _, _ in 0 }, labels, to: [12, 12]).labels)
    var scores: [[UInt16]] = []
    for label in -1...3 {
      let indicator = try imageTensor([1, rows, columns]) { picture[$1 * columns + $2] == label ? 1000 : 0 }
      scores.append(try apply(.init(angle: angle, scale: scale), indicator, labels, to: [12, 12]).image.floatArray().map(float16Bits))
    }
    for place in 0..<144 {
      var expected = Int16(-1)
      for label in 1..<5 where scores[label][place] > scores[Int(expected) + 1][place] { expected = Int16(label - 1) }
      // Equal up to the last bit of the single precision sum, which the two ways round differently.
      let (mine, best) = (scores[Int(got[place]) + 1][place], scores[Int(expected) + 1][place])
      #expect(got[place] == expected || best - mine <= 1)
    }
  }
}

@Test func imageAndLabelsStayAligned() throws {
  // The image is the label: where a pixel has one label around it, both must agree after any transform.
  func disc(_ row: Int, _ column: Int) -> Int {
    let (y, x) = (Double(row) - 40, Double(column) - 55)
    return y * y + 2 * x * x < 500 ? 2 : (row > 60 ? 1 : 0)
  }
  let options = Augmentation()
  var compared = 0
  for item in 0..<40 {
    var image = try imageTensor([1, 90, 90]) { Float(disc($1, $2)) }
    var labels = try labelTensor(90, 90, disc)
    let parameters = options.draw(seed: 5, step: 1, item: item, channels: 1, patch: [70, 70])
    if let spatial = parameters.spatial { (image, labels) = try apply(spatial, image, labels, to: [70, 70]) }
    if let mirror = parameters.mirror { try Mirror.apply(mirror, image: image, labels: labels) }
    let values = labelArray(labels)
    for (value, label) in zip(image.floatArray(), values) where abs(value - value.rounded()) < 1e-4 && value != 1 {
      compared += 1
      #expect(abs(value - Float(label)) < 1e-3)
    }
  }
  #expect(compared > 100_000)
}

@Test func samplesThatDoNotFitAreRefused() throws {
  let image = try imageTensor([1, 8, 8]) { _, _, _ in 0 }
  #expect(throws: MedDINOError.self) { _ = try apply(.init(angle: 1), image, labelTensor(8, 7) { _, _ in 0 }, to: [4, 4]) }
  #expect(throws: MedDINOError.self) {
    try SpatialTransform.apply(
      .init(), image: image, labels: labelTensor(8, 8) { _, _ in 0 }, newImage: imageTensor([2, 4, 4]) { _, _, _ in 0 },
      newLabels: labelTensor(4, 4) { _, _ in 0 }, workspace: Workspace(MemoryBudget()))
  }
}
