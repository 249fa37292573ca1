import Platform
import Pretraining
import Tensors
import TestSupport
import Testing

/// A slice whose pixels say where they are, or noise.
func noiseSource(count: Int = 5, rows: Int = 40, columns: Int = 56, units: PretrainingSlice.Units = .hounsfield, channels: Int = 1) throws
  -> CallbackSource
{
  try CallbackSource(count: count) { (index, budget) throws(MedDINOError) in
    var generator = SeededGenerator(UInt64(index) + 1)
    let range: ClosedRange<Float> = units == .hounsfield ? -1200...1200 : 0...1
    return PretrainingSlice(
      try Tensor(generator.floats(channels * rows * columns, in: range), [channels, rows, columns], in: budget), units: units)
  }
}

@Suite struct CropTests {
  @Test func everySliceComesOncePerPass() {
    for count in [1, 2, 5, 64, 1000] {
      let order = ShuffledOrder(count: count, seed: 3)
      let first = (0..<count).map(order.index), second = (count..<2 * count).map(order.index)
      #expect(first.sorted() == Array(0..<count) && second.sorted() == Array(0..<count))
      if count > 60 {
        #expect(first != second && first != Array(0..<count))
        #expect(
          ShuffledOrder(count: count, seed: 4).index(7) != order.index(7) || ShuffledOrder(count: count, seed: 4).index(8) != order.index(8)
        )
      }
    }
  }

  @Test func windowsLieInsideAndHaveTheirArea() {
    var random = CounterRandom(seed: 1, purpose: "test")
    for (rows, columns) in [(40, 56), (512, 512), (7, 90), (90, 7), (1, 1)] {
      for _ in 0..<200 {
        let window = CropWindow.draw(rows: rows, columns: columns, scale: 0.3...0.6, flips: true, &random)
        #expect(window.rows >= 1 && window.columns >= 1 && window.top >= 0 && window.left >= 0)
        #expect(window.top + window.rows <= rows && window.left + window.columns <= columns)
        if rows == 512 {
          let part = Double(window.rows * window.columns) / Double(rows * columns)
          let aspect = Double(window.columns) / Double(window.rows)
          #expect((0.29...0.61).contains(part) && (0.74...1.36).contains(aspect))
        }
      }
    }
  }

  private func maker(
    _ source: any SliceSource, _ change: (inout CropOptions, inout PixelOptions) -> Void = { _, _ in }, channels: Int = 3
  ) throws -> CropMaker {
    var (crops, pixels) = (CropOptions(), PixelOptions())
    crops.resolutions = [.init(global: 32, local: 16)]
    crops.localCount = 3
    change(&crops, &pixels)
    return try CropMaker(
      source, crops: crops, pixels: pixels, masks: MaskOptions(), batchSize: 2, channels: channels, patchSize: 8, seed: 11)
  }

  @Test func batchesHaveTheirShapesAndComeAgain() throws {
    let maker = try maker(noiseSource()) { crops, _ in
      crops.resolutions = [.init(global: 32, local: 16, gram: 48)]
    }
    let budget = MemoryBudget()
    let batch = try maker.batch(at: 4, in: budget)
    #expect(batch.globalCrops.shape == [4, 3, 32, 32] && batch.localCrops.shape == [6, 3, 16, 16])
    #expect(batch.gramCrops?.shape == [4, 3, 48, 48] && batch.masks.masks.shape == [4, 16])
    let again = try maker.batch(at: 4, in: budget), other = try maker.batch(at: 5, in: budget)
    #expect(again.globalCrops.floatArray() == batch.globalCrops.floatArray())
    #expect(again.localCrops.floatArray() == batch.localCrops.floatArray() && again.masks.indices == batch.masks.indices)
    #expect(other.globalCrops.floatArray() != batch.globalCrops.floatArray())
    // One channel fills all, and the two global crops of an image differ.
    let plane = 32 * 32
    let values = batch.globalCrops.floatArray()
    #expect(Array(values[0..<plane]) == Array(values[plane..<2 * plane]))
    #expect(Array(values[0..<plane]) != Array(values[2 * 3 * plane..<(2 * 3 + 1) * plane]))
  }

  /// The Gram teacher's view shows the same field: a ramp has the same mean and the same ends.
  @Test func gramViewsShowTheFieldOfTheirCrop() throws {
    let source = try CallbackSource(count: 1) { (_, budget) throws(MedDINOError) in
      PretrainingSlice(
        try Tensor((0..<64 * 64).map { Float($0 % 64) + 2 * Float($0 / 64) }, [1, 64, 64], in: budget), units: .normalized)
    }
    let maker = try maker(source) { crops, pixels in
      crops.resolutions = [.init(global: 16, local: 16, gram: 32)]
      pixels.augmentation = .none
    }
    let batch = try maker.batch(at: 0, in: MemoryBudget())
    let gram = try #require(batch.gramCrops)
    for crop in 0..<4 {
      let small = batch.globalCrops.rows(crop..<crop + 1).floatArray(), large = gram.rows(crop..<crop + 1).floatArray()
      let means = [small, large].map { $0.reduce(0, +) / Float($0.count) }
      #expect(abs(means[0] - means[1]) < 0.5)
      #expect(abs(small[0] - large[0]) < 4 && abs((small.last ?? 0) - (large.last ?? 0)) < 4)
    }
  }

  @Test func localCropsMayComeFromGlobalOnes() throws {
    let maker = try maker(noiseSource()) { crops, pixels in
      crops.localCropsFromGlobal = true
      crops.localCount = 2
      crops.resolutions = [.init(global: 48, local: 16)]
      pixels.augmentation = .none
    }
    let batch = try maker.batch(at: 1, in: MemoryBudget())
    let globals = batch.globalCrops.floatArray(), locals = batch.localCrops.floatArray()
    // Local crop c of image b lies in global crop c of the image, at multiples of 16.
    for crop in 0..<2 {
      for image in 0..<2 {
        let inside = (crop * 2 + image) * 3 * 48 * 48, local = (crop * 2 + image) * 3 * 16 * 16
        let places = [0, 16, 32].flatMap { y in [0, 16, 32].map { y * 48 + $0 } }
        #expect(places.contains { place in (0..<16).allSatisfy { globals[inside + place + $0] == locals[local + $0] } })
      }
    }
  }

  @Test func constantSlicesAreNormalised() throws {
    let source = try CallbackSource(count: 1) { (_, budget) throws(MedDINOError) in
      PretrainingSlice(try Tensor([Float](repeating: 1500, count: 400), [1, 20, 20], in: budget), units: .hounsfield)
    }
    for (mode, expected) in [(PixelOptions.Normalization.hounsfield, Float((1000 - 65.1084213256836) / 178.01663208007812)), (.slice, 0)] {
      let maker = try maker(source) { _, pixels in (pixels.augmentation, pixels.normalization) = (.none, mode) }
      let values = try maker.batch(at: 0, in: MemoryBudget()).globalCrops.floatArray()
      #expect(values.allSatisfy { abs($0 - expected) < 1e-4 }, "\(mode)")
    }
  }

  @Test func naturalImagesKeepTheirRange() throws {
    for shares in [false, true] {
      for undistorted in [false, true] {
        let maker = try maker(noiseSource(units: .unitRange, channels: 3)) { crops, pixels in
          crops.sharesColorChanges = shares
          crops.gramWithoutDistortions = undistorted
          crops.resolutions = [.init(global: 32, local: 16, gram: 48)]
          (pixels.augmentation, pixels.normalization) = (.natural, .rgb)
          (pixels.mean, pixels.deviation) = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
        }
        for step in 0..<5 {
          let batch = try maker.batch(at: step, in: MemoryBudget())
          // Bicubic overshoot aside.
          #expect(batch.globalCrops.floatArray().allSatisfy { abs($0) < 1.5 } && batch.localCrops.floatArray().allSatisfy { abs($0) < 1.5 })
        }
      }
    }
  }

  /// A slice in HU: its window is changed as colours are, and what comes out is normalised as without changes.
  @Test func naturalChangesWorkOnHounsfieldUnits() throws {
    func constant(_ value: Float) throws -> CallbackSource {
      try CallbackSource(count: 1) { (_, budget) throws(MedDINOError) in
        PretrainingSlice(try Tensor([Float](repeating: value, count: 400), [1, 20, 20], in: budget), units: .hounsfield)
      }
    }
    func values(_ source: CallbackSource, _ augmentation: PixelOptions.Augmentation, _ mode: PixelOptions.Normalization) throws -> [[Float]]
    {
      let maker = try maker(source) { crops, pixels in
        (pixels.augmentation, pixels.normalization) = (augmentation, mode)
        crops.resolutions = [.init(global: 32, local: 16, gram: 48)]
        crops.gramWithoutDistortions = true
      }
      return try (0..<6).map { step in
        let batch = try maker.batch(at: step, in: MemoryBudget())
        return batch.globalCrops.floatArray() + (batch.gramCrops?.floatArray() ?? [])
      }
    }
    // Views without changes have the values of the plain normalisation, also far below 65 HU.
    for (mode, tolerance) in [(PixelOptions.Normalization.hounsfield, Float(1e-4)), (.slice, 1e-2), (.none, 1e-2)] {
      for value in [-900, -300, 40, 1500] as [Float] {
        let plain = try values(constant(value), .none, mode)[0].last ?? .nan
        let expected = mode == .none ? min(value, 1000) : plain
        let own = try values(constant(value), .natural, mode)[0].last ?? .nan
        #expect(abs(own - expected) < tolerance, "\(mode) \(value): \(own), \(expected)")
      }
    }
    // Colours of three channels: (window − mean) / deviation of each.
    let colours = try values(constant(0), .none, .rgb)[0]
    let plane = 32 * 32
    for (channel, (mean, deviation)) in zip([Float(0.485), 0.456, 0.406], [Float(0.229), 0.224, 0.225]).enumerated() {
      #expect(abs(colours[channel * plane] - (0.5 - mean) / deviation) < 1e-4)
    }
    // Everything stays within the window, bicubic overshoot aside, and keeps its structure.
    let (low, high) = (Float(-1000 - 65.1084) / 178.0166, Float(1000 - 65.1084) / 178.0166)
    for step in try values(noiseSource(), .natural, .hounsfield) {
      #expect(step.allSatisfy { $0 > low - 3 && $0 < high + 3 })
      #expect(step.contains { $0 < low / 2 } && step.contains { $0 > high / 2 })
    }
    for step in try values(noiseSource(), .natural, .rgb) { #expect(step.allSatisfy { abs($0) < 5 }) }
  }

  @Test func resolutionsComeWithTheirProbabilities() {
    var options = CropOptions()
    options.resolutions = [
      .init(global: 32, local: 16, ratio: 0.3), .init(global: 48, local: 16, ratio: 0.7), .init(global: 64, local: 16, ratio: 0),
    ]
    let sizes = (0..<4000).map { options.resolution(at: $0).global }
    let part = Double(sizes.filter { $0 == 32 }.count) / 4000
    #expect(abs(part - 0.3) < 5 * (0.3 * 0.7 / 4000).squareRoot() && !sizes.contains(64))
    #expect(sizes == (0..<4000).map { options.resolution(at: $0).global })
  }

  @Test func wrongSlicesAreNamed() throws {
    let budget = MemoryBudget()
    let units = #expect(throws: MedDINOError.self) { try maker(noiseSource(units: .unitRange)).batch(at: 0, in: budget) }
    #expect(units?.kind == .invalid && units?.message.contains("hounsfield") == true)
    let channels = #expect(throws: MedDINOError.self) { try maker(noiseSource(channels: 2)).batch(at: 0, in: budget) }
    #expect(channels?.kind == .shape && channels?.message.contains("2 channels") == true)
    #expect(throws: MedDINOError.self) { try CallbackSource(count: 0) { (_, _) throws(MedDINOError) in throw .cancelled } }
  }
}
