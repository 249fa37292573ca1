import Platform
import TestSupport
import Testing

@testable import Tensors

@Suite struct DecoderTrainingTests {
  struct Form: CustomStringConvertible, Sendable {
    let taps, dim, stages, classes, rows, columns: Int
    var prefix = 1
    var batch = 1
    var description: String { "\(taps) taps of \(dim), \(stages) stages, \(classes) classes, \(rows)×\(columns)" }
  }
  static let forms = [
    Form(taps: 1, dim: 6, stages: 1, classes: 2, rows: 1, columns: 1), Form(taps: 2, dim: 10, stages: 2, classes: 3, rows: 3, columns: 2),
    Form(taps: 1, dim: 17, stages: 3, classes: 2, rows: 2, columns: 2, prefix: 0, batch: 2),
    Form(taps: 2, dim: 16, stages: 4, classes: 5, rows: 1, columns: 3),
  ]

  /// The loss is linear in the logits, so that its gradient is a plane of random numbers.
  @Test(arguments: forms) func backwardMatchesDifferences(form: Form) throws {
    for device in try trainingDevices() {
      var sample = try Sample(form, device)
      let (logits, tapGradients, gradients) = try sample.run(.float32)
      let plain = PlainDecoder(form)
      let inputs = sample.taps.map { doubles($0) }
      let weights = sample.flat.map { doubles($0) }
      let outer = doubles(sample.outer)
      func loss(_ taps: [[Double]], _ weights: [[Double]]) -> Double {
        zip(plain.logits(taps, weights), outer).reduce(0) { $0 + $1.0 * $1.1 }
      }
      #expect(relativeError(logits, plain.logits(inputs, weights)) < 1e-5, "\(device.name) \(form)")
      for tap in 0..<form.taps {
        let expected = differences(inputs[tap]) { x in
          var taps = inputs
          taps[tap] = x
          return loss(taps, weights)
        }
        #expect(relativeError(tapGradients[tap], expected) < 3e-5, "\(device.name) \(form) tap \(tap)")
      }
      for (index, gradient) in gradients.enumerated() where weights[index].count < 400 {
        let expected = differences(weights[index]) { w in
          var all = weights
          all[index] = w
          return loss(inputs, all)
        }
        let added = doubles(gradient).map { $0 - 1 }  // they began at 1
        let shifted = try device.tensor(added.map { Float($0) }, gradient.shape)
        #expect(relativeError(shifted, expected) < 1e-4, "\(device.name) \(form) weight \(index)")
      }
    }
  }

  /// More tokens than a group and a part hold: what one image gives is the sum of what its tokens give alone.
  @Test(arguments: [Precision.float32, .bfloat16]) func groupsAndThreadsDoNotMatter(precision: Precision) throws {
    var first: [[Float]]?
    for threads in 1...2 {
      guard let device = try trainingDevices(threads: threads).last else { return }
      let form = Form(taps: 2, dim: 24, stages: 3, classes: 3, rows: 5, columns: 100)
      var sample = try Sample(form, device)
      let (_, taps, gradients) = try sample.run(precision)
      let all = (taps + gradients).map { $0.floatArray() }
      if let first { #expect(first == all) } else { first = all }
      guard threads == 1 else { continue }
      var (sum, byToken) = (gradients.map { [Double](repeating: 1, count: $0.count) }, [[Double]](repeating: [], count: form.taps))
      for row in 0..<form.rows {
        var part = try sample.rowAlone(row)
        let (_, taps, gradients) = try part.run(precision)
        for (i, gradient) in gradients.enumerated() {
          for (j, value) in gradient.floatArray().enumerated() { sum[i][j] += Double(value) - 1 }
        }
        for (i, tap) in taps.enumerated() { byToken[i] += doubles(tap).dropFirst(form.prefix * form.dim) }
      }
      for (gradient, expected) in zip(gradients, sum) { #expect(relativeError(gradient, expected) < 1e-4) }
      for (tap, expected) in zip(taps, byToken) {
        #expect(relativeError(tap, [Double](repeating: 0, count: form.prefix * form.dim) + expected) < 1e-5)
      }
    }
  }

  @Test func partsThatNobodyWantsAreLeftOut() throws {
    guard let device = try trainingDevices().last else { return }
    let form = Self.forms[1]
    var sample = try Sample(form, device)
    let (_, taps, gradients) = try sample.run(.float32)
    let (_, onlyTaps, _) = try sample.run(.float32, weights: false)
    let (_, _, onlyWeights) = try sample.run(.float32, taps: false)
    #expect(onlyTaps.map { $0.floatArray() } == taps.map { $0.floatArray() })
    #expect(onlyWeights.map { $0.floatArray() } == gradients.map { $0.floatArray() })
  }
}

/// Random taps, weights and a gradient of the logits.
private struct Sample {
  let form: DecoderTrainingTests.Form
  let device: CPUDevice
  var taps: [Tensor] = []
  var weights: DecoderWeights
  let outer: Tensor

  init(_ form: DecoderTrainingTests.Form, _ device: CPUDevice) throws {
    self.form = form
    self.device = device
    var random = SeededGenerator(41)
    let tokens = form.prefix + form.rows * form.columns
    for _ in 0..<form.taps { taps.append(try random.tensor([form.batch, tokens, form.dim], on: device)) }
    var stages: [DecoderWeights.Stage] = []
    var channels = form.taps * form.dim
    for _ in 0..<form.stages {
      let outputs = channels / 2
      stages.append(
        DecoderWeights.Stage(
          weight: try random.tensor([channels, outputs, 2, 2], on: device), bias: try random.tensor([outputs], on: device),
          normWeight: try random.tensor([outputs], in: 0.5...1.5, on: device), normBias: try random.tensor([outputs], on: device)))
      channels = outputs
    }
    weights = DecoderWeights(
      stages: stages, headWeight: try random.tensor([form.classes, channels, 1, 1], on: device),
      headBias: try random.tensor([form.classes], on: device))
    let side = 1 << form.stages
    outer = try random.tensor([form.batch, form.classes, form.rows * side, form.columns * side], on: device)
  }

  private init(_ form: DecoderTrainingTests.Form, of other: Sample, taps: [Tensor], outer: Tensor) {
    self.form = form
    device = other.device
    self.taps = taps
    weights = other.weights
    self.outer = outer
  }

  /// One row of the grid as an image of its own.
  func rowAlone(_ row: Int) throws -> Sample {
    let part = DecoderTrainingTests.Form(
      taps: form.taps, dim: form.dim, stages: form.stages, classes: form.classes, rows: 1, columns: form.columns, prefix: form.prefix)
    let width = form.columns * form.dim
    let cut = try taps.map { tap in
      let all = tap.floatArray()
      let first = form.prefix * form.dim
      return try device.tensor(
        Array(all[0..<first] + all[(first + row * width)...].prefix(width)), [1, form.prefix + form.columns, form.dim])
    }
    let (height, line) = (1 << form.stages, form.columns << form.stages)
    let planes = outer.floatArray()
    let slope = (0..<form.classes).flatMap { c in planes[((c * form.rows + row) * height * line)...].prefix(height * line) }
    return Sample(part, of: self, taps: cut, outer: try device.tensor(slope, [1, form.classes, height, line]))
  }

  var flat: [Tensor] { Self.flat(weights) }
  static func flat(_ weights: DecoderWeights) -> [Tensor] {
    weights.stages.flatMap { [$0.weight, $0.bias, $0.normWeight, $0.normBias] } + [weights.headWeight, weights.headBias]
  }

  /// Logits, tap gradients (begun at 7, for they are written) and weight gradients (begun at 1, for they are added to).
  mutating func run(
    _ precision: Precision, taps wantsTaps: Bool = true, weights wantsWeights: Bool = true
  ) throws -> (Tensor, [Tensor], [Tensor]) {
    let workspace = Workspace(device.budget)
    let logits = try device.zeros(outer.shape)
    try device.decode(
      taps, prefixTokens: form.prefix, rows: form.rows, columns: form.columns, weights: weights, precision: precision, into: logits,
      workspace: workspace, control: RunControl())
    let device = device
    func filled(_ value: Float, _ like: Tensor) throws -> Tensor {
      try device.tensor([Float](repeating: value, count: like.count), like.shape)
    }
    let tapGradients = try taps.map { try filled(7, $0) }
    let gradients = DecoderWeights(
      stages: try weights.stages.map {
        DecoderWeights.Stage(
          weight: try filled(1, $0.weight), bias: try filled(1, $0.bias), normWeight: try filled(1, $0.normWeight),
          normBias: try filled(1, $0.normBias))
      }, headWeight: try filled(1, weights.headWeight), headBias: try filled(1, weights.headBias))
    try device.decodeBackward(
      outer, taps: taps, prefixTokens: form.prefix, rows: form.rows, columns: form.columns, weights: weights, precision: precision,
      tapGradients: wantsTaps ? tapGradients : nil, gradients: wantsWeights ? gradients : nil, workspace: workspace,
      control: RunControl())
    return (logits, tapGradients, Self.flat(gradients))
  }
}

/// `PatchDecode` by the definition, in double precision. Source: model specification 3.1.
private struct PlainDecoder {
  let form: DecoderTrainingTests.Form
  init(_ form: DecoderTrainingTests.Form) { self.form = form }

  func logits(_ taps: [[Double]], _ weights: [[Double]]) -> [Double] {
    (0..<form.batch).flatMap { image in imageLogits(taps, weights, image) }
  }

  private func imageLogits(_ taps: [[Double]], _ weights: [[Double]], _ image: Int) -> [Double] {
    let tokens = form.prefix + form.rows * form.columns
    var (height, width, channels) = (form.rows, form.columns, form.taps * form.dim)
    var map = (0..<height * width).flatMap { token in
      taps.flatMap { $0[((image * tokens + form.prefix + token) * form.dim)...].prefix(form.dim) }
    }
    for stage in 0..<form.stages {
      let outputs = channels / 2
      map = upsampled(map, height, width, channels, outputs, Array(weights[4 * stage..<4 * stage + 4]))
      (height, width, channels) = (2 * height, 2 * width, outputs)
    }
    let (head, bias) = (weights[4 * form.stages], weights[4 * form.stages + 1])
    return (0..<form.classes).flatMap { k in
      (0..<height * width).map { pixel in
        (0..<channels).reduce(bias[k]) { $0 + head[k * channels + $1] * map[pixel * channels + $1] }
      }
    }
  }

  private func upsampled(
    _ map: [Double], _ height: Int, _ width: Int, _ channels: Int, _ outputs: Int, _ weights: [[Double]]
  ) -> [Double] {
    var result = [Double](repeating: 0, count: 4 * height * width * outputs)
    for y in 0..<2 * height {
      for x in 0..<2 * width {
        let from = (y / 2 * width + x / 2) * channels
        var pixel = weights[1]
        for o in 0..<outputs {
          for c in 0..<channels { pixel[o] += map[from + c] * weights[0][((c * outputs + o) * 2 + y % 2) * 2 + x % 2] }
        }
        let mean = pixel.reduce(0, +) / Double(outputs)
        let spread = pixel.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(outputs)
        for o in 0..<outputs {
          let normed = (pixel[o] - mean) / (spread + 1e-6).squareRoot() * weights[2][o] + weights[3][o]
          result[(y * 2 * width + x) * outputs + o] = 0.5 * normed * complementaryError(-normed / 2.0.squareRoot())
        }
      }
    }
    return result
  }
}
