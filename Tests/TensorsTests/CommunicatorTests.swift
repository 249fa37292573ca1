import Platform
import TestSupport
import Testing

@testable import Tensors

@Suite struct CommunicatorTests {
  @Test func sharesCoverTheBatch() {
    for size in 1...5 {
      for count in [0, 1, 4, 7, 16] {
        let shares = (0..<size).map { batchShare(of: count, rank: $0, size: size) }
        #expect(shares.flatMap(Array.init) == Array(0..<count))
        #expect((shares.map(\.count).max() ?? 0) - (shares.map(\.count).min() ?? 0) <= 1)
      }
    }
  }

  @Test func aloneNothingChanges() throws {
    let solo = SoloCommunicator()
    #expect(try solo.sums([1, 2]) == [1, 2])
    #expect(try solo.gather(3) == [3])
    #expect(try !solo.isAny(false) && solo.isAny(true) && solo.isRoot && solo.isSolo)
  }

  @Test func ranksTellEachOther() throws {
    let results = try ThreadRanks(3).run { ranks in
      var numbers: [Float] = [Float(ranks.rank), 1]
      try numbers.withUnsafeMutableBufferPointer { (values) throws(MedDINOError) in try ranks.sum(values) }
      var text = [UInt8](repeating: UInt8(ranks.rank), count: 2)
      try text.withUnsafeMutableBufferPointer { (bytes) throws(MedDINOError) in
        try ranks.broadcast(UnsafeMutableRawBufferPointer(bytes), from: 2)
      }
      try ranks.barrier()
      return (numbers, try ranks.gather(Double(ranks.rank * ranks.rank)), text, try ranks.isAny(ranks.rank == 1))
    }
    for result in results { #expect(result.0 == [3, 3] && result.1 == [0, 1, 4] && result.2 == [2, 2] && result.3) }
  }

  /// Samples on several ranks, one of which has none, are assigned like the same samples on one.
  @Test(arguments: [[3, 4], [7, 0], [2, 4, 1]]) func assignmentOverRanks(counts: [Int]) throws {
    let device = try CPUDevice(pool: ThreadPool(threads: 1), budget: MemoryBudget())
    let prototypes = 11
    var random = SeededGenerator(8)
    let logits = random.floats(7 * prototypes, in: -2...2)
    let whole = try device.tensor(logits, [7, prototypes])
    try device.sinkhorn(whole, temperature: 0.1, iterations: 3, into: whole)
    let parts = try ThreadRanks(counts.count).run { ranks in
      let device = try CPUDevice(pool: ThreadPool(threads: 1), budget: MemoryBudget())
      let first = counts[..<ranks.rank].reduce(0, +)
      let own = Array(logits[first * prototypes..<(first + counts[ranks.rank]) * prototypes])
      let tensor = try device.tensor(own, [counts[ranks.rank], prototypes])
      try device.sinkhorn(tensor, temperature: 0.1, iterations: 3, into: tensor, ranks: ranks)
      return tensor.floatArray()
    }
    #expect(relativeError(try device.tensor(parts.flatMap { $0 }, whole.shape), doubles(whole)) < 1e-6)
  }

  struct Form: Sendable {
    var regions = false
    var batchDice = true
    var ignore: Int?
  }
  /// Loss and gradients of a batch that is spread over ranks, unevenly.
  @Test(arguments: [Form(), Form(ignore: 2), Form(batchDice: false), Form(regions: true), Form(regions: true, batchDice: false, ignore: 1)])
  func segmentationLossOverRanks(form: Form) throws {
    let device = try CPUDevice(pool: ThreadPool(threads: 1), budget: MemoryBudget())
    var options = SegmentationLossOptions()
    (options.regions, options.batchDice, options.ignoreLabel) = (form.regions, form.batchDice, form.ignore)
    let (batch, classes, side) = (3, 3, 6)
    let planes = form.regions ? classes + (form.ignore == nil ? 0 : 1) : 1
    var random = SeededGenerator(9)
    let logits = random.floats(batch * classes * side * side, in: -2...2)
    let labels = (0..<batch * planes * side * side).map { _ in Int16.random(in: 0..<(form.regions ? 2 : 3), using: &random) }
    let chosen = options
    @Sendable func loss(
      _ images: Range<Int>, _ device: CPUDevice, _ ranks: any Communicator
    ) throws -> (loss: SegmentationLoss, gradient: [Float]) {
      let own = Array(logits[images.lowerBound * classes * side * side..<images.upperBound * classes * side * side])
      let values = try device.tensor(own, [images.count, classes, side, side])
      let targets = try Tensor([images.count, planes, side, side], .int16, in: device.budget)
      for index in 0..<targets.count { targets.elements(Int16.self)[index] = labels[images.lowerBound * planes * side * side + index] }
      let gradient = try device.zeros(values.shape)
      let loss = try device.segmentationLoss(values, targets: targets, chosen, scale: 2, gradient: gradient, ranks: ranks)
      return (loss, gradient.floatArray())
    }
    let whole = try loss(0..<batch, device, SoloCommunicator())
    let parts = try ThreadRanks(2).run { ranks in
      try loss(batchShare(of: batch, rank: ranks.rank, size: 2), CPUDevice(pool: ThreadPool(threads: 1), budget: MemoryBudget()), ranks)
    }
    for part in parts {
      #expect(abs(part.loss.total - whole.loss.total) < 1e-9 && abs(part.loss.dice - whole.loss.dice) < 1e-9)
    }
    let gradient = try device.tensor(parts.flatMap(\.gradient), [batch, classes, side, side])
    #expect(relativeError(gradient, doubles(whole.gradient)) < 1e-6)
  }
}
