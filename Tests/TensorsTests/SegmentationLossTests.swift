import Platform
import TestSupport
import Testing

@testable import Tensors

@Suite struct SegmentationLossTests {
  struct Form: CustomStringConvertible, Sendable {
    var regions = false
    var batchDice = true
    var ignore: Int?
    var classes = 3
    var height = 3
    var width = 5
    var description: String { "regions \(regions), batch dice \(batchDice), ignore \(ignore.map(String.init) ?? "none"), \(classes)" }
    var options: SegmentationLossOptions {
      var options = SegmentationLossOptions()
      options.regions = regions
      options.batchDice = batchDice
      options.ignoreLabel = ignore
      return options
    }
  }
  static let forms = [
    Form(), Form(batchDice: false), Form(ignore: 3), Form(batchDice: false, ignore: 7), Form(classes: 1), Form(classes: 6, height: 20),
    Form(regions: true), Form(regions: true, batchDice: false), Form(regions: true, ignore: 1),
    Form(regions: true, batchDice: false, ignore: 1, classes: 1, height: 70),
  ]

  private func targets(_ form: Form, _ random: inout SeededGenerator, _ device: CPUDevice) throws -> Tensor {
    let pixels = form.height * form.width
    let channels = form.regions ? form.classes + (form.ignore == nil ? 0 : 1) : 1
    let result = try Tensor([2, channels, form.height, form.width], .int16, in: device.budget)
    let values = result.elements(Int16.self)
    for i in 0..<2 * channels * pixels {
      let label = Int16.random(in: 0..<Int16(form.regions ? 2 : form.classes), using: &random)
      let isLeftOut = !form.regions && form.ignore != nil && Int.random(in: 0..<4, using: &random) == 0
      values[i] = isLeftOut ? Int16(form.ignore ?? 0) : label
    }
    return result
  }

  @Test(arguments: forms) func valueAndGradientMatchTheFormula(form: Form) throws {
    for device in try trainingDevices() {
      var random = SeededGenerator(51)
      let shape: Shape = [2, form.classes, form.height, form.width]
      let logits = try random.tensor(shape, in: -4...4, on: device)
      let target = try targets(form, &random, device)
      let gradient = try device.zeros(shape)
      let loss = try device.segmentationLoss(logits, targets: target, form.options, scale: 2.5, gradient: gradient)
      let labels = (0..<target.count).map { Int(target.value($0)) }
      let plain = PlainLoss(form: form, targets: labels)
      let expected = plain.loss(doubles(logits))
      #expect(abs(loss.crossEntropy - expected.entropy) < 1e-6 * (1 + abs(expected.entropy)), "\(device.name) \(form)")
      #expect(abs(loss.dice - expected.dice) < 1e-6, "\(device.name) \(form)")
      #expect(loss.total == loss.crossEntropy + loss.dice)
      #expect(slopeError(gradient, doubles(logits), plain) < 2e-5, "\(device.name) \(form)")
      let without = try device.segmentationLoss(logits, targets: target, form.options, scale: 1, gradient: nil)
      #expect(without == loss)
    }
  }

  /// The largest error of some elements of the gradient (times 2.5), in units of their root mean square.
  private func slopeError(_ gradient: Tensor, _ logits: [Double], _ plain: PlainLoss) -> Double {
    var (worst, squares, count) = (0.0, 0.0, 0.0)
    for i in stride(from: 0, to: logits.count, by: max(1, logits.count / 40)) {
      let slope = differences([logits[i]]) { x in
        var all = logits
        all[i] = x[0]
        let value = plain.loss(all)
        return 2.5 * (value.entropy + value.dice)
      }[0]
      let error = abs(slope - Double(gradient.floats[i]))
      if !(error <= worst) { worst = error.isNaN ? .infinity : error }
      squares += slope * slope
      count += 1
    }
    return worst / max((squares / count).squareRoot(), 1e-6)
  }

  @Test func sameBitsForAnyNumberOfThreads() throws {
    for form in [Form(classes: 4, height: 100, width: 300), Form(regions: true, classes: 2, height: 100, width: 300)] {
      var first: ([Float], SegmentationLoss)?
      for threads in 1...3 {
        guard let device = try trainingDevices(threads: threads).last else { return }
        var random = SeededGenerator(52)
        let shape: Shape = [2, form.classes, form.height, form.width]
        let logits = try random.tensor(shape, on: device)
        let gradient = try device.zeros(shape)
        let loss = try device.segmentationLoss(
          logits, targets: targets(form, &random, device), form.options, scale: 1, gradient: gradient)
        if let first { #expect(first == (gradient.floatArray(), loss)) } else { first = (gradient.floatArray(), loss) }
      }
    }
  }

  @Test func unknownLabelsAreRefused() throws {
    guard let device = try trainingDevices().last else { return }
    let logits = try device.zeros([1, 2, 2, 2])
    let target = try Tensor([1, 1, 2, 2], .int16, in: device.budget)
    for (i, label) in [0, 1, 2, -1].enumerated() { target.elements(Int16.self)[i] = Int16(label) }
    #expect(throws: MedDINOError.self) {
      try device.segmentationLoss(logits, targets: target, SegmentationLossOptions(), scale: 1, gradient: nil)
    }
  }

  /// Nothing annotated: no entropy, a Dice of 1 per class, no gradient; logits of any size.
  @Test func everythingLeftOut() throws {
    for device in try trainingDevices() {
      let logits = try device.tensor([1e4, -1e4, 3, 4, 5, -90, 90, 0], [1, 2, 2, 2])
      let target = try Tensor([1, 1, 2, 2], .int16, in: device.budget)
      for i in 0..<4 { target.elements(Int16.self)[i] = 9 }
      let gradient = try device.zeros([1, 2, 2, 2])
      var options = SegmentationLossOptions()
      options.ignoreLabel = 9
      let loss = try device.segmentationLoss(logits, targets: target, options, scale: 1, gradient: gradient)
      #expect(loss == SegmentationLoss(total: -1, crossEntropy: 0, dice: -1))
      #expect(gradient.floatArray().allSatisfy { $0 == 0 })
    }
  }
}

/// The loss by the definition, in double precision. Source: pipeline specification 8.
private struct PlainLoss {
  let form: SegmentationLossTests.Form
  let targets: [Int]
  private var pixels: Int { form.height * form.width }

  func loss(_ logits: [Double]) -> (entropy: Double, dice: Double) {
    var p = logits
    var y = [Double](repeating: 0, count: logits.count)
    var inside = [Double](repeating: 1, count: 2 * pixels)
    var entropy = 0.0
    for image in 0..<2 {
      for pixel in 0..<pixels {
        let at = { (c: Int) in (image * form.classes + c) * pixels + pixel }
        if form.regions {
          let channels = form.classes + (form.ignore == nil ? 0 : 1)
          let mark = targets[(image * channels + channels - 1) * pixels + pixel]
          if form.ignore != nil { inside[image * pixels + pixel] = Double(1 - mark) }
          for c in 0..<form.classes {
            y[at(c)] = Double(targets[(image * channels + c) * pixels + pixel])
            p[at(c)] = 1 / (1 + exponential(-logits[at(c)]))
            entropy -= inside[image * pixels + pixel] * (y[at(c)] == 1 ? logarithm(p[at(c)]) : logarithm(1 - p[at(c)]))
          }
        } else {
          let sum = (0..<form.classes).reduce(0.0) { $0 + exponential(logits[at($1)]) }
          for c in 0..<form.classes { p[at(c)] = exponential(logits[at(c)]) / sum }
          let label = targets[image * pixels + pixel]
          if label == form.ignore {
            inside[image * pixels + pixel] = 0
          } else {
            y[at(label)] = 1
            entropy -= logarithm(p[at(label)])
          }
        }
      }
    }
    let counted = inside.reduce(0, +)
    let terms = form.regions && form.ignore == nil ? Double(logits.count) : counted
    return (terms > 0 ? entropy / terms : 0, dice(p, y, inside))
  }

  private func dice(_ p: [Double], _ y: [Double], _ inside: [Double]) -> Double {
    var all: [Double] = []
    for group in form.batchDice ? [[0, 1]] : [[0], [1]] {
      for c in (form.regions ? 0 : 1)..<max(form.classes, form.regions ? 0 : 1) {
        var (hits, sum) = (0.0, 0.0)
        for image in group {
          for pixel in 0..<pixels {
            let (at, m) = ((image * form.classes + c) * pixels + pixel, inside[image * pixels + pixel])
            hits += p[at] * y[at] * m
            sum += (p[at] + y[at]) * m
          }
        }
        all.append((2 * hits + 1e-5) / max(sum + 1e-5, 1e-8))
      }
    }
    return all.isEmpty ? 0 : -all.reduce(0, +) / Double(all.count)
  }
}
