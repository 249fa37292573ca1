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
    Form(taps: 1, dim: 10, stages: 1, classes: 2, rows: 1, columns: 1), Form(taps: 2, dim: 13, stages: 2, classes: 3, rows: 3, columns: 2),
    Form(taps: 1, dim: 45, stages: 3, classes: 2, rows: 2, columns: 2, prefix: 0, batch: 2),
    Form(taps: 2, dim: 40, stages: 4, classes: 5, rows: 1, columns: 3),
  ]

  @Test(arguments: forms) func backwardMatchesDoublePrecision(form: Form) throws {
    for device in try trainingDevices() {
      var sample = try Sample(form, device)
      let (logits, tapGradients, gradients) = try sample.run(.float32)
      let plain = PlainDecoder(form: form, weights: sample.flat.map { doubles($0) })
      let expected = plain.run(sample.taps.map { doubles($0) }, outer: doubles(sample.outer))
      #expect(relativeError(logits, expected.logits) < 1e-5, "\(device.name) \(form)")
      for (tap, gradient) in tapGradients.enumerated() {
        #expect(relativeError(gradient, expected.taps[tap]) < 3e-5, "\(device.name) \(form) tap \(tap)")
      }
      for (index, gradient) in gradients.enumerated() {
        // they began at 1
        #expect(relativeError(gradient, expected.weights[index].map { $0 + 1 }) < 3e-5, "\(device.name) \(form) weight \(index)")
      }
    }
  }

  /// More tokens than a group and a part hold: what one image gives is the sum of what its tokens give alone.
  @Test(arguments: [Precision.float32, .bfloat16]) func groupsAndThreadsDoNotMatter(precision: Precision) throws {
    var first: [[Float]]?
    for threads in 1...2 {
      guard let device = try trainingDevices(threads: threads).last else { return }
      let form = Form(taps: 2, dim: 20, stages: 3, classes: 3, rows: 5, columns: 96)
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

  /// What the forward keeps of a stage spares computing it again, and changes no bit.
  @Test(arguments: [Precision.float32, .bfloat16]) func keptStagesGiveTheSameBits(precision: Precision) throws {
    for device in try trainingDevices(threads: 2) {
      for form in Self.forms + [Form(taps: 2, dim: 20, stages: 3, classes: 3, rows: 5, columns: 96, batch: 2)] {
        var sample = try Sample(form, device)
        let (logits, taps, gradients) = try sample.run(precision)
        let plain = ([logits] + taps + gradients).map { $0.floatArray() }
        for kept in 1...form.stages {
          let (logits, taps, gradients) = try sample.run(precision, keeping: kept)
          #expect(([logits] + taps + gradients).map { $0.floatArray() } == plain, "\(device.name) \(form), \(kept) kept")
        }
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
    _ precision: Precision, taps wantsTaps: Bool = true, weights wantsWeights: Bool = true, keeping keptStages: Int = 0
  ) throws -> (Tensor, [Tensor], [Tensor]) {
    let device = device
    let workspace = Workspace(device.budget)
    let logits = try device.zeros(outer.shape)
    let patches = taps[0].shape[0] * form.rows * form.columns
    let kept = try (0..<keptStages).map { try device.zeros([patches, weights.stages[$0].weight.shape[1] << (2 * ($0 + 1))]) }
    try device.decode(
      taps, prefixTokens: form.prefix, rows: form.rows, columns: form.columns, weights: weights, precision: precision, into: logits,
      keeping: kept, workspace: workspace, control: RunControl())
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
      kept: kept, tapGradients: wantsTaps ? tapGradients : nil, gradients: wantsWeights ? gradients : nil, workspace: workspace,
      control: RunControl())
    return (logits, tapGradients, Self.flat(gradients))
  }
}

/// `PatchDecode` and its backward by the definition, in double precision, channels last. Source: model specification 3.1.
private struct PlainDecoder {
  let form: DecoderTrainingTests.Form
  /// Per stage weight, bias, norm weight, norm bias; then the head's weight and bias.
  let weights: [[Double]]

  struct Result {
    var logits: [Double] = []
    var taps: [[Double]]
    var weights: [[Double]]
  }
  private struct Level {
    let map: [Double]
    let height, width, channels: Int
  }

  /// Of all images: the logits, and the gradients for a loss Σ outer · logits.
  func run(_ taps: [[Double]], outer: [Double]) -> Result {
    var result = Result(
      taps: taps.map { [Double](repeating: 0, count: $0.count) }, weights: weights.map { [Double](repeating: 0, count: $0.count) })
    let tokens = form.prefix + form.rows * form.columns
    for image in 0..<form.batch {
      let place = { (token: Int) in (image * tokens + form.prefix + token) * form.dim }
      let entry = (0..<form.rows * form.columns).flatMap { token in taps.flatMap { $0[place(token)...].prefix(form.dim) } }
      var levels = [Level(map: entry, height: form.rows, width: form.columns, channels: form.taps * form.dim)]
      for stage in 0..<form.stages { levels.append(upsampled(levels[stage], stage)) }
      let planes = outer.count / form.batch
      var slope = head(levels[form.stages], Array(outer[image * planes..<(image + 1) * planes]), &result)
      for stage in (0..<form.stages).reversed() { slope = back(levels[stage], stage, slope, &result) }
      for token in 0..<form.rows * form.columns {
        for tap in 0..<form.taps {
          for i in 0..<form.dim { result.taps[tap][place(token) + i] = slope[(token * form.taps + tap) * form.dim + i] }
        }
      }
    }
    return result
  }

  private func head(_ level: Level, _ outer: [Double], _ result: inout Result) -> [Double] {
    let (pixels, channels, at) = (level.height * level.width, level.channels, 4 * form.stages)
    var slope = [Double](repeating: 0, count: level.map.count)
    for k in 0..<form.classes {
      for pixel in 0..<pixels {
        let g = outer[k * pixels + pixel]
        var sum = weights[at + 1][k]
        result.weights[at + 1][k] += g
        for c in 0..<channels {
          sum += weights[at][k * channels + c] * level.map[pixel * channels + c]
          result.weights[at][k * channels + c] += g * level.map[pixel * channels + c]
          slope[pixel * channels + c] += g * weights[at][k * channels + c]
        }
        result.logits.append(sum)
      }
    }
    return slope
  }

  /// The source pixel and the quadrant of pixel (y, x) of the upsampled map.
  private func origin(_ y: Int, _ x: Int, _ level: Level) -> (pixel: Int, quadrant: Int) {
    (y / 2 * level.width + x / 2, y % 2 * 2 + x % 2)
  }

  /// A pixel before the norm, normalised, and one over its standard deviation.
  private func normed(_ level: Level, _ stage: Int, _ y: Int, _ x: Int) -> (values: [Double], scale: Double) {
    let outputs = level.channels / 2
    let (pixel, quadrant) = origin(y, x, level)
    var values = weights[4 * stage + 1]
    for c in 0..<level.channels {
      let source = level.map[pixel * level.channels + c]
      for o in 0..<outputs { values[o] += source * weights[4 * stage][(c * outputs + o) * 4 + quadrant] }
    }
    let mean = values.reduce(0, +) / Double(outputs)
    let spread = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(outputs)
    let scale = 1 / (spread + 1e-6).squareRoot()
    return (values.map { ($0 - mean) * scale }, scale)
  }

  private func upsampled(_ level: Level, _ stage: Int) -> Level {
    let outputs = level.channels / 2
    var map: [Double] = []
    for y in 0..<2 * level.height {
      for x in 0..<2 * level.width {
        for (o, value) in normed(level, stage, y, x).values.enumerated() {
          let z = value * weights[4 * stage + 2][o] + weights[4 * stage + 3][o]
          map.append(0.5 * z * complementaryError(-z / 2.0.squareRoot()))
        }
      }
    }
    return Level(map: map, height: 2 * level.height, width: 2 * level.width, channels: outputs)
  }

  private func back(_ level: Level, _ stage: Int, _ outer: [Double], _ result: inout Result) -> [Double] {
    let (outputs, at) = (level.channels / 2, 4 * stage)
    var slope = [Double](repeating: 0, count: level.map.count)
    for y in 0..<2 * level.height {
      for x in 0..<2 * level.width {
        let (n, scale) = normed(level, stage, y, x)
        var g = Array(outer[(y * 2 * level.width + x) * outputs..<(y * 2 * level.width + x + 1) * outputs])
        for o in 0..<outputs {
          let z = n[o] * weights[at + 2][o] + weights[at + 3][o]
          let density = exponential(-z * z / 2) / (2 * Double.pi).squareRoot()
          g[o] *= 0.5 * complementaryError(-z / 2.0.squareRoot()) + z * density
          result.weights[at + 2][o] += g[o] * n[o]
          result.weights[at + 3][o] += g[o]
          g[o] *= weights[at + 2][o]
        }
        let mean = g.reduce(0, +) / Double(outputs)
        let product = zip(g, n).reduce(0) { $0 + $1.0 * $1.1 } / Double(outputs)
        let (pixel, quadrant) = origin(y, x, level)
        for o in 0..<outputs {
          let d = (g[o] - mean - n[o] * product) * scale
          result.weights[at + 1][o] += d
          for c in 0..<level.channels {
            let w = (c * outputs + o) * 4 + quadrant
            result.weights[at][w] += d * level.map[pixel * level.channels + c]
            slope[pixel * level.channels + c] += d * weights[at][w]
          }
        }
      }
    }
    return slope
  }
}
