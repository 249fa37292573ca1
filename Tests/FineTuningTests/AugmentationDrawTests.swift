import FineTuning
import Imaging
import Platform
import Tensors
import Testing

private let trials = 8000

private func draws(_ options: Augmentation = .official, channels: Int = 2, patch: [Int] = [64, 64]) -> [Augmentation.Parameters] {
  (0..<trials).map { options.draw(seed: 11, step: UInt64($0 / 4), item: $0 % 4, channels: channels, patch: patch) }
}

@Test func transformsHappenAsOftenAsTheyShould() {
  let all = draws()
  func check(_ probability: Double, _ name: String, _ happens: (Augmentation.Parameters) -> Bool) {
    let count = all.count(where: happens)
    #expect(isPlausible(count, of: trials, probability: probability), "\(name): \(count)")
  }
  check(0.2, "rotation") { $0.spatial.map { $0.angle != 0 } ?? false }
  check(0.2, "scaling") { $0.spatial.map { $0.scale != 1 } ?? false }
  check(0.04, "both") { $0.spatial.map { $0.angle != 0 && $0.scale != 1 } ?? false }
  check(0.1, "noise") { $0.noise != nil }
  check(0.2, "blur") { $0.blur != nil }
  check(0.1, "blur of one channel") { $0.blur?[1] != nil }
  check(0.05, "blur of both channels") { $0.blur.map { $0[0] != nil && $0[1] != nil } ?? false }
  check(0.15, "brightness") { $0.brightness != nil }
  check(0.15, "contrast") { $0.contrast != nil }
  check(0.1, "inverted gamma") { $0.invertedGamma != nil }
  check(0.3, "gamma") { $0.gamma != nil }
  check(0.03, "gamma twice") { $0.gamma != nil && $0.invertedGamma != nil }
  check(0.5, "mirrored rows") { $0.mirror?.rows ?? false }
  check(0.5, "mirrored columns") { $0.mirror?.columns ?? false }
  check(0.25, "mirrored both") { $0.mirror.map { $0.rows && $0.columns } ?? false }
  check(0.02, "noise and blur") { $0.noise != nil && $0.blur != nil }
  check(0.0225, "brightness and contrast") { $0.brightness != nil && $0.contrast != nil }
  #expect(all.allSatisfy { $0.lowResolution == nil })
}

@Test func parametersFillTheirRanges() {
  let all = draws()
  func check(_ values: [Double], _ low: Double, _ high: Double, _ name: String, lowerHalf: Double = 0.5, at middle: Double? = nil) {
    #expect(values.allSatisfy { $0 >= low && $0 <= high }, "\(name)")
    let part = (high - low) / 20
    #expect((values.min() ?? high) < low + part && (values.max() ?? low) > high - part, "\(name)")
    let below = values.count { $0 < middle ?? (low + high) / 2 }
    #expect(isPlausible(below, of: values.count, probability: lowerHalf), "\(name): \(below) of \(values.count)")
  }
  check(all.compactMap(\.spatial?.angle).filter { $0 != 0 }, -Double.pi, .pi, "angle")
  check(all.compactMap(\.spatial?.scale).filter { $0 != 1 }, 0.7, 1.4, "scale")
  check(all.compactMap(\.noise?.deviation), 0, 0.1, "noise")
  check(all.compactMap(\.blur).flatMap { $0.compactMap { $0?.rows } }, 0.5, 1, "blur rows")
  check(all.compactMap(\.blur).flatMap { $0.compactMap { $0?.columns } }, 0.5, 1, "blur columns")
  check(all.compactMap(\.brightness).flatMap { $0 }, 0.75, 1.25, "brightness", at: 1)
  check(all.compactMap(\.contrast).flatMap { $0 }, 0.75, 1.25, "contrast", at: 1)
  check(all.compactMap(\.gamma).flatMap(\.exponents), 0.7, 1.5, "gamma", at: 1)
  check(all.compactMap(\.invertedGamma).flatMap(\.exponents), 0.7, 1.5, "inverted gamma", at: 1)
  #expect(all.compactMap(\.invertedGamma).allSatisfy { $0.inverts && $0.retainsStatistics })
  #expect(all.compactMap(\.gamma).allSatisfy { !$0.inverts && $0.retainsStatistics })
  let long = draws(patch: [64, 32]).compactMap(\.spatial?.angle)
  check(long.filter { $0 != 0 }, -15 * Double.pi / 180, 15 * Double.pi / 180, "angle of a long patch")
  // Channels have factors of their own.
  #expect(all.compactMap(\.brightness).allSatisfy { $0.count == 2 && $0[0] != $0[1] })
  #expect(all.compactMap(\.gamma).allSatisfy { $0.exponents.count == 2 && $0.exponents[0] != $0.exponents[1] })
}

@Test func oneTransformDoesNotDisturbAnother() {
  var options = Augmentation()
  options.noise.chance = 0
  options.gamma.chance = 1
  options.lowResolution.isApplied = true
  let (before, after) = (draws(), draws(options))
  for (a, b) in zip(before, after) {
    #expect(a.spatial == b.spatial && a.blur == b.blur && a.brightness == b.brightness && a.mirror == b.mirror)
    #expect(a.contrast == b.contrast && a.invertedGamma == b.invertedGamma && b.noise == nil && b.gamma != nil)
  }
  let low = after.compactMap(\.lowResolution)
  #expect(isPlausible(low.count, of: trials, probability: 0.25))
  #expect(isPlausible(low.count { $0[0] != nil }, of: low.count, probability: 0.5))
  #expect(low.flatMap { $0.compactMap { $0 } }.allSatisfy { (0.5...1).contains($0) })
}

@Test func withoutAugmentationNothingIsDrawn() {
  for parameters in draws(.none) {
    #expect(parameters.spatial == nil && parameters.noise == nil && parameters.blur == nil && parameters.brightness == nil)
    #expect(parameters.contrast == nil && parameters.lowResolution == nil && parameters.invertedGamma == nil)
    #expect(parameters.gamma == nil && parameters.mirror == nil)
  }
}

@Test func optionsOutOfRangeAreRefused() throws {
  try Augmentation.official.validate()
  try Augmentation.none.validate()
  let broken: [(inout Augmentation) -> Void] = [
    { $0.spatial.rotationChance = 1.5 }, { $0.spatial.scalingChance = -0.1 }, { $0.spatial.scaling = 0...1 },
    { $0.spatial.rotation = -10...10 }, { $0.noise.chance = .nan }, { $0.noise.deviation = -1...0 }, { $0.blur.channelChance = 2 },
    { $0.blur.deviation = 0...1 }, { $0.brightness.factor = FactorRange(0, 1.2) }, { $0.contrast.factor = FactorRange(1.1, 1.2) },
    { $0.contrast.chance = -1 }, { $0.lowResolution.scale = 0...1 }, { $0.gamma.exponent = FactorRange(0.5, .infinity) },
    { $0.invertedGamma.chance = 7 }, { $0.mirror.chance = 1.01 }, { $0.brightness.factor = FactorRange(.nan, 1.2) },
  ]
  for (index, change) in broken.enumerated() {
    var options = Augmentation()
    change(&options)
    #expect(throws: MedDINOError.self, "\(index)") { try options.validate() }
  }
}
