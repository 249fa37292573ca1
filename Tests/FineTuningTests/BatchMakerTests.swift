import FineTuning
import Platform
import Segmentation
import Synchronization
import Tensors
import TestSupport
import Testing

private func cases(_ scheme: LabelScheme, channels: Int = 1, rows: Int = 60, columns: Int = 50) throws -> [SyntheticCase] {
  try (0..<3).map { index in
    try SyntheticCase("case \(index)", shape: [channels, 4, rows, columns], scheme: scheme) { slice, row, column in
      if row < 3 { return -1 }
      return (row - 20) * (row - 20) + (column - 25) * (column - 25) < 60 + 20 * index ? 1 + (slice + index) % 3 : 0
    } value: { channel, slice, row, column in
      Float(channel) + Float((row * 31 + column * 17 + slice * 7) % 19) / 7 - 1
    }
  }
}
private func sameBits(_ a: TrainingBatch, _ b: TrainingBatch) -> Bool {
  a.images.bytes.elementsEqual(b.images.bytes) && a.targets.bytes.elementsEqual(b.targets.bytes)
}

@Test func aBatchDependsOnItsStepAlone() throws {
  let scheme = try plainScheme()
  let budget = MemoryBudget()
  let source = try cases(scheme)
  func maker(_ seed: UInt64 = 1) throws -> BatchMaker {
    try BatchMaker(.training, cases: source, configuration: configuration([32, 32]), scheme: scheme, seed: seed, in: budget)
  }
  let first = try maker()
  let expected = try (0..<6).map { try first.make(step: $0) }
  #expect(expected[0].images.shape == [4, 1, 32, 32] && expected[0].targets.shape == [4, 1, 32, 32])
  #expect(expected[0].step == 0 && expected[5].step == 5)
  for step in (0..<6).reversed() { #expect(sameBits(try maker().make(step: UInt64(step)), expected[step])) }
  #expect(!sameBits(try maker(2).make(step: 0), expected[0]) && !sameBits(expected[0], expected[1]))

  // Spread over threads, whole batches and single samples.
  let pool = try ThreadPool(threads: 4)
  let results = Mutex<[Int: TrainingBatch]>([:])
  pool.forEach(6) { step in
    if let made = try? first.make(step: UInt64(step)) { results.withLock { $0[step] = made } }
  }
  let made = results.withLock { $0 }
  for step in 0..<6 { #expect(made[step].map { sameBits($0, expected[step]) } ?? false) }
  let batch = try first.allocate(step: 3)
  let failures = Mutex(0)
  pool.forEach(4) { item in
    do { try first.fill(3 - item, of: batch, workspace: Workspace(budget)) } catch { failures.withLock { $0 += 1 } }
  }
  #expect(failures.withLock { $0 } == 0 && sameBits(batch, expected[3]))
}

@Test(arguments: [77, 5, -2]) func labelsThatNoPreparedCaseHoldsNameTheCase(_ value: Int) throws {
  let scheme = try plainScheme()
  let broken = try SyntheticCase("broken", shape: [1, 4, 60, 50], scheme: scheme) { _, row, _ in
    row % 2 == 0 ? value : 1
  } value: { channel, slice, row, column in
    Float(channel + slice + row + column)
  }
  let maker = try BatchMaker(
    .training, cases: [broken], configuration: configuration([32, 32]), scheme: scheme, seed: 1, in: MemoryBudget())
  let error = #expect(throws: MedDINOError.self) { try maker.make(step: 0) }
  #expect(
    error?.kind == .format && error?.message.hasPrefix("case broken: its prepared labels hold the value \(value), expected 0 to") == true)
}

@Test func validationShowsThePatchAsItIs() throws {
  let scheme = try plainScheme()
  let source = try cases(scheme)
  let maker = try BatchMaker(
    .validation, cases: source, configuration: configuration([32, 40]), scheme: scheme, seed: 1, in: MemoryBudget())
  for step in 0..<10 {
    let batch = try maker.make(step: UInt64(step))
    for item in 0..<4 {
      let choice = maker.sampler.draw(step: UInt64(step), item: item, from: source)
      #expect(choice.box.rows.count == 32 && choice.box.columns.count == 40)
      for row in 0..<32 {
        for column in 0..<40 {
          let (y, x) = (choice.box.rows.lowerBound + row, choice.box.columns.lowerBound + column)
          let isInside = (0..<60).contains(y) && (0..<50).contains(x)
          let index = (item * 32 + row) * 40 + column
          #expect(batch.images.floats[index] == (isInside ? source[choice.index].imageValue(0, choice.slice, y, x) : 0))
          let label = isInside ? source[choice.index].labelValue(choice.slice, y, x) : 0
          #expect(batch.targets.elements(Int16.self)[index] == max(label, 0))
        }
      }
    }
  }
}

@Test func withoutAugmentationTrainingIsTheCentreOfTheLoadersBox() throws {
  let scheme = try plainScheme()
  let source = try cases(scheme)
  let maker = try BatchMaker(
    .training, cases: source, configuration: configuration([20, 20]), scheme: scheme, augmentation: .none, seed: 3, in: MemoryBudget())
  let batch = try maker.make(step: 7)
  for item in 0..<4 {
    let choice = maker.sampler.draw(step: 7, item: item, from: source)
    #expect(choice.box.rows.count == 23)
    let wide = try Tensor([1, 23, 23], in: MemoryBudget())
    try PatchReader.readImage(choice.box, slice: choice.slice, of: source[choice.index], into: wide)
    for row in 0..<20 {
      for column in 0..<20 {
        #expect(batch.images.floats[(item * 20 + row) * 20 + column] == wide.floats[(row + 1) * 23 + column + 1])
      }
    }
  }
}

@Test func slicesSmallerThanThePatchArePadded() throws {
  let scheme = try plainScheme()
  let source = try cases(scheme, rows: 30, columns: 31)
  for role in [BatchMaker.Role.training, .validation] {
    let maker = try BatchMaker(
      role, cases: source, configuration: configuration([64, 64]), scheme: scheme, augmentation: .none, seed: 1, in: MemoryBudget())
    for step in 0..<5 {
      let batch = try maker.make(step: UInt64(step))
      for item in 0..<4 {
        let values = batch.images.floats[(item * 4096)..<((item + 1) * 4096)]
        let targets = batch.targets.elements(Int16.self)[(item * 4096)..<((item + 1) * 4096)]
        let choice = maker.sampler.draw(step: UInt64(step), item: item, from: source)
        let box = maker.sampler.geometry.centre(choice.box)
        let inside = box.rows.clamped(to: 0..<30).count * box.columns.clamped(to: 0..<31).count
        #expect(values.count { $0 != 0 } <= inside && targets.allSatisfy { (0...3).contains($0) })
        if choice.location != nil { #expect(targets.contains { $0 != 0 }) }
      }
    }
  }
}

@Test func maskedChannelsAreZeroOutside() throws {
  let scheme = try plainScheme()
  // Nothing but outside: every pixel of a masked channel must be 0.
  let source = [
    try SyntheticCase(shape: [2, 2, 40, 40], scheme: scheme) { _, _, _ in
      -1
    } value: { _, _, _, _ in
      3
    }
  ]
  func sums(_ change: (inout Augmentation) -> Void, _ masked: [Bool], _ role: BatchMaker.Role = .training) throws -> [Float] {
    var options = Augmentation.none
    change(&options)
    let maker = try BatchMaker(
      role, cases: source, configuration: configuration([16, 16], channels: 2, masked: masked, batchSize: 1), scheme: scheme,
      augmentation: options, seed: 2, in: MemoryBudget())
    let values = try maker.make(step: 0).images.floatArray()
    return [values[..<256].reduce(0, +), values[256...].reduce(0, +)]
  }
  #expect(try sums({ _ in }, [true, false]) == [0, 0])
  let part = try sums({ $0.masksOnlyMaskedChannels = true }, [true, false])
  #expect(part[0] == 0 && part[1] > 0)
  #expect(try sums({ _ in }, [false, false]).allSatisfy { $0 > 0 })
  #expect(try sums({ _ in }, [true, true], .validation).allSatisfy { $0 > 0 })
}

@Test func regionTargetsHaveAChannelForIgnoredPixels() throws {
  let scheme = try regionScheme()
  let source = [
    try SyntheticCase(shape: [1, 2, 40, 40], scheme: scheme) { _, row, column in
      row < 10 ? 4 : column / 10
    } value: { _, _, _, column in
      Float(column / 10)
    }
  ]
  let maker = try BatchMaker(
    .validation, cases: source, configuration: configuration([40, 40], batchSize: 2), scheme: scheme, seed: 2, in: MemoryBudget())
  let batch = try maker.make(step: 0)
  #expect(batch.targets.shape == [2, 4, 40, 40])
  let box = maker.sampler.draw(step: 0, item: 0, from: source).box
  var seen: Set<Int> = []
  for row in 0..<40 {
    for column in 0..<40 {
      // The box lies around an annotated pixel; what it shows beside the slice is background.
      let (y, x) = (box.rows.lowerBound + row, box.columns.lowerBound + column)
      let label = y < 40 && x < 40 ? (y < 10 ? 4 : x / 10) : 0
      seen.insert(label)
      let got = (0..<4).map { batch.targets.elements(Int16.self)[($0 * 40 + row) * 40 + column] }
      #expect(got == [(1...3).contains(label), (2...3).contains(label), label == 2, label == 4].map { $0 ? 1 : 0 })
    }
  }
  #expect(seen.contains(2) && seen.contains(3) && box.rows.lowerBound >= 0 && box.columns.lowerBound >= 0)
}

@Test func makersRefuseWhatDoesNotFit() throws {
  let scheme = try plainScheme()
  let budget = MemoryBudget()
  let good = try cases(scheme)
  func make(_ cases: [SyntheticCase], _ patch: [Int] = [16, 16], channels: Int = 1, batchSize: Int = 2) throws -> BatchMaker {
    try BatchMaker(
      .training, cases: cases, configuration: configuration(patch, channels: channels, batchSize: batchSize), scheme: scheme, seed: 1,
      in: budget)
  }
  #expect(throws: MedDINOError.self) { try make([]) }
  #expect(throws: MedDINOError.self) { try make(good, channels: 2) }
  #expect(throws: MedDINOError.self) { try make(good, [16, 0]) }
  #expect(throws: MedDINOError.self) { try make(good, batchSize: 0) }
  var broken = good[1]
  broken.failure = .io("disk is gone")
  let error = #expect(throws: MedDINOError.self) { try make([broken]).make(step: 0) }
  #expect(error?.kind == .io && error?.message == "case case 1: disk is gone")
}

@Test func everyAllocationOfABatchMayFail() throws {
  let scheme = try regionScheme()
  let source = try cases(scheme)
  let budget = MemoryBudget()
  var options = Augmentation()
  options.spatial.rotationChance = 1
  options.noise.chance = 1
  options.blur.chance = 1
  options.blur.channelChance = 1
  options.lowResolution.isApplied = true
  options.lowResolution.chance = 1
  options.lowResolution.channelChance = 1
  let maker = try BatchMaker(
    .training, cases: source, configuration: configuration([16, 16], batchSize: 2), scheme: scheme, augmentation: options, seed: 1,
    in: budget)
  budget.restartCount()
  _ = try maker.make(step: 0)
  let count = budget.allocationCount
  #expect(count > 8 && budget.bytesInUse == 0)
  for index in 0..<count {
    budget.restartCount()
    budget.failAllocation(index)
    let error = #expect(throws: MedDINOError.self) { _ = try maker.make(step: 0) }
    #expect(error?.kind == .outOfMemory && budget.bytesInUse == 0)
  }
  budget.failAllocation(-1)
}
