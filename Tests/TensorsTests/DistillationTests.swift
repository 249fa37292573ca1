import Platform
import TestSupport
import Testing

@testable import Tensors

/// Operations of self-distillation against their definition and its central differences, both in double precision.
@Suite struct DistillationTests {
  @Test func unitRowsAndTheirBackward() throws {
    for device in try trainingDevices() {
      for (rows, dim) in [(1, 1), (3, 5), (20, 33)] {
        var random = SeededGenerator(31)
        let (x, g) = (random.floats(rows * dim, in: -2...2), random.floats(rows * dim))
        func unit(_ x: [Double]) -> [Double] {
          (0..<rows).flatMap { r in
            let row = x[r * dim..<(r + 1) * dim]
            let norm = max(row.reduce(0) { $0 + $1 * $1 }.squareRoot(), 1e-12)
            return row.map { $0 / norm }
          }
        }
        let input = try device.tensor(x, [rows, dim])
        let (output, gradient) = (
          try device.zeros([rows, dim]), try device.tensor([Float](repeating: 0.5, count: rows * dim), [rows, dim])
        )
        device.normalizeRows(input, epsilon: 1e-12, into: output)
        #expect(relativeError(output, unit(doubles(x))) < 1e-6, "\(device.name)")
        device.normalizeRowsBackward(input, epsilon: 1e-12, gradient: try device.tensor(g, [rows, dim]), addingTo: gradient)
        let slopes = differences(doubles(x)) { zip(unit($0), g).reduce(0) { $0 + $1.0 * Double($1.1) } }
        #expect(relativeError(gradient, slopes.map { $0 + 0.5 }) < 1e-5, "\(device.name)")
      }
    }
  }

  // MARK: assignment

  private func plainSinkhorn(_ logits: [Double], _ rows: Int, _ columns: Int, _ temperature: Double) -> [Double] {
    let top = logits.max() ?? 0
    var q = logits.map { exponential(($0 - top) / temperature) }
    let total = q.reduce(0, +)
    q = q.map { $0 / total }
    for _ in 0..<3 {
      for k in 0..<columns {
        let sum = (0..<rows).reduce(0.0) { $0 + q[$1 * columns + k] } * Double(columns)
        for r in 0..<rows { q[r * columns + k] /= sum }
      }
      for r in 0..<rows {
        let sum = q[r * columns..<(r + 1) * columns].reduce(0, +) * Double(rows)
        for k in 0..<columns { q[r * columns + k] /= sum }
      }
    }
    return q.map { $0 * Double(rows) }
  }

  @Test func assignmentMatchesTheAlgorithm() throws {
    for device in try trainingDevices() {
      for (rows, columns, spread, offset) in [(1, 3, 1.0, 0.0), (7, 5, 1, 0), (4, 2100, 2, -1), (6, 9, 1, 900), (6, 9, 1, -900)] {
        var random = SeededGenerator(32)
        let logits = random.floats(rows * columns, in: Float(-spread)...Float(spread)).map { $0 + Float(offset) }
        let output = try device.tensor(logits, [rows, columns])
        try device.sinkhorn(output, temperature: 0.07, iterations: 3, into: output)
        #expect(relativeError(output, plainSinkhorn(doubles(logits), rows, columns, Double(Float(0.07)))) < 3e-5, "\(device.name) \(rows)")
        for row in 0..<rows { #expect(abs(doubles(output.rows(row..<row + 1)).reduce(0, +) - 1) < 1e-5) }
      }
      let empty = try device.zeros([0, 4])
      try device.sinkhorn(empty, temperature: 0.04, iterations: 3, into: empty)
    }
  }

  // MARK: cross entropy

  @Test func entropyIsTheMeanOfSpreadRows() throws {
    let device = try CPUDevice(pool: ThreadPool(threads: 2), budget: MemoryBudget())
    let rows: [Float] = [0.5, 0.5, 0, 1, 0, 0, 0.2, 0.3, 0.5, 0.25, 0.25, 0.5]
    let tensor = try Tensor(rows, [4, 3], in: device.budget)
    func entropy(_ row: Int) -> Double { rows[row * 3..<row * 3 + 3].reduce(0.0) { $1 > 0 ? $0 - Double($1) * logarithm(Double($1)) : $0 } }
    #expect(abs(device.meanEntropy(tensor, limit: 9) - (0..<4).reduce(0) { $0 + entropy($1) } / 4) < 1e-6)
    #expect(abs(device.meanEntropy(tensor, limit: 2) - (entropy(0) + entropy(2)) / 2) < 1e-6)
    #expect(try device.meanEntropy(Tensor([0, 3], in: device.budget), limit: 2) == 0)
  }

  @Test func crossEntropyAndItsGradient() throws {
    let temperature = 0.25
    for device in try trainingDevices() {
      for (students, teachers, batch, diagonal, columns) in [(2, 2, 2, true, 5), (3, 2, 1, false, 7), (5, 2, 2, true, 3)] {
        var random = SeededGenerator(33)
        let logits = random.floats(students * batch * columns, in: -2...2)
        let targets = random.floats(teachers * batch * columns, in: 0...1)
        func loss(_ z: [Double]) -> Double {
          var (total, pairs) = (0.0, 0.0)
          for s in 0..<students {
            for t in 0..<teachers where !(diagonal && s == t) {
              pairs += 1
              for b in 0..<batch {
                let row = z[(s * batch + b) * columns..<(s * batch + b + 1) * columns].map { $0 / temperature }
                let sum = logarithm(row.reduce(0) { $0 + exponential($1) })
                for k in 0..<columns { total -= Double(targets[(t * batch + b) * columns + k]) * (row[k] - sum) }
              }
            }
          }
          return total / (pairs * Double(batch))
        }
        let pairs = try TargetPairs.crops(students: students, teachers: teachers, batch: batch, ignoreDiagonal: diagonal)
        let gradient = try device.zeros([students * batch, columns])
        let value = try device.softCrossEntropy(
          device.tensor(logits, [students * batch, columns]), targets: device.tensor(targets, [teachers * batch, columns]), pairs: pairs,
          temperature: Float(temperature), scale: 3, gradient: gradient)
        #expect(abs(value - loss(doubles(logits))) < 1e-5 * (1 + abs(value)), "\(device.name)")
        #expect(relativeError(gradient, differences(doubles(logits)) { 3 * loss($0) }) < 1e-5, "\(device.name)")
        // In the memory of the logits it has the same bits.
        let tape = Tape(device)
        let leaf = tape.leaf(try device.tensor(logits, [students * batch, columns]))
        let again = try tape.softCrossEntropy(
          leaf, targets: device.tensor(targets, [teachers * batch, columns]), pairs: pairs, temperature: Float(temperature), scale: 3,
          overwrites: true)
        #expect(again == value && leaf.gradient?.floatArray() == gradient.floatArray())
        #expect(leaf.gradient?.pointer == leaf.value.pointer)
      }
    }
  }

  @Test func maskedPatchesAreDividedByAllImages() {
    let pairs = TargetPairs.patches(weights: [0.5, 0.5, 1], images: 4)
    #expect(pairs == TargetPairs(targets: [[0], [1], [2]], weights: [0.125, 0.125, 0.25]))
  }

  @Test func cropsWithoutPairsAreRefused() {
    let error = #expect(throws: MedDINOError.self) {
      try TargetPairs.crops(students: 1, teachers: 1, batch: 3, ignoreDiagonal: true)
    }
    #expect(error?.kind == .invalid)
  }

  // MARK: regularisers

  private func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }

  private func directions(_ x: [Double], _ dim: Int, _ epsilon: Double) -> [[Double]] {
    (0..<x.count / dim).map { r in
      let row = Array(x[r * dim..<(r + 1) * dim])
      let norm = max(row.reduce(0) { $0 + $1 * $1 }.squareRoot(), epsilon)
      return row.map { $0 / norm }
    }
  }

  @Test(arguments: [KoLeoOptions(), KoLeoOptions(neighbours: 2), KoLeoOptions(neighbours: 1, groupSize: 3)])
  func spreadAndItsGradient(options: KoLeoOptions) throws {
    let (rows, dim) = (6, 4)
    for device in try trainingDevices() {
      var random = SeededGenerator(34)
      let x = random.floats(rows * dim, in: -2...2)
      func loss(_ x: [Double]) -> Double {
        let y = directions(x, dim, 1e-8)
        let size = options.groupSize ?? rows
        var logs: [Double] = []
        for i in 0..<rows {
          let others = (i / size * size..<i / size * size + size).filter { $0 != i }
          let sorted = others.sorted { a, b in dot(y[i], y[a]) > dot(y[i], y[b]) }
          for j in sorted.prefix(options.neighbours) {
            let square = zip(y[i], y[j]).reduce(0.0) { $0 + ($1.0 - $1.1 + 1e-8) * ($1.0 - $1.1 + 1e-8) }
            logs.append(-logarithm(square.squareRoot() + 1e-8))
          }
        }
        return logs.reduce(0, +) / Double(logs.count)
      }
      let gradient = try device.zeros([rows, dim])
      let value = try device.koLeo(device.tensor(x, [rows, dim]), options, scale: 2, gradient: gradient)
      #expect(abs(value - loss(doubles(x))) < 1e-5, "\(device.name)")
      #expect(relativeError(gradient, differences(doubles(x)) { 2 * loss($0) }) < 1e-5, "\(device.name)")
    }
  }

  struct GramForm: Sendable {
    var options = GramOptions()
    var images = 2
    var tokens = 3
    init(_ change: (inout GramOptions) -> Void = { _ in }) { change(&options) }
  }
  static let gramForms = [
    GramForm(), GramForm { $0.imageLevel = false }, GramForm { $0.normalized = false }, GramForm { $0.removeNegative = true },
    GramForm { $0.removeTeacherNegative = true },
  ]

  @Test(arguments: gramForms) func gramAndItsGradient(form: GramForm) throws {
    let (options, dim) = (form.options, 4)
    for device in try trainingDevices() {
      var random = SeededGenerator(35)
      let (x, t) = (random.floats(form.images * form.tokens * dim), random.floats(form.images * form.tokens * dim))
      func similarities(_ x: [Double]) -> [[Double]] {
        let plain = (0..<x.count / dim).map { r in Array(x[r * dim..<(r + 1) * dim]) }
        let y: [[Double]] = options.normalized ? directions(x, dim, 1e-12) : plain
        let size = options.imageLevel ? form.tokens : y.count
        return stride(from: 0, to: y.count, by: size).map { begin in
          (0..<size * size).map { dot(y[begin + $0 / size], y[begin + $0 % size]) }
        }
      }
      func loss(_ x: [Double]) -> Double {
        let (own, other) = (similarities(x).flatMap { $0 }, similarities(doubles(t)).flatMap { $0 })
        var sum = 0.0
        for (s, t) in zip(own, other) {
          let a: Double = options.removeNegative ? max(s, 0) : s
          let b: Double = options.removeNegative || options.removeTeacherNegative ? max(t, 0) : t
          sum += (a - b) * (a - b)
        }
        return sum / Double(own.count)
      }
      let shape: Shape = [form.images, form.tokens, dim]
      let gradient = try device.zeros(shape)
      let value = try device.gramLoss(device.tensor(x, shape), teacher: device.tensor(t, shape), options, scale: 5, gradient: gradient)
      #expect(abs(value - loss(doubles(x))) < 1e-6, "\(device.name) \(options)")
      #expect(relativeError(gradient, differences(doubles(x)) { 5 * loss($0) }) < 1e-5, "\(device.name) \(options)")
    }
  }

  /// More tokens than the rows of a Gram matrix that exist at once, for any number of threads.
  @Test func largeBatchesHaveTheSameBitsForAnyNumberOfThreads() throws {
    var first: [Float]?
    for threads in 1...3 {
      guard let device = try trainingDevices(threads: threads).last else { return }
      var random = SeededGenerator(36)
      var options = GramOptions()
      options.imageLevel = false
      let shape: Shape = [2, 300, 8]
      let (x, t) = (try random.tensor(shape, on: device), try random.tensor(shape, on: device))
      let gradient = try device.zeros(shape)
      let value = try device.gramLoss(x, teacher: t, options, scale: 1, gradient: gradient)
      let logits = try random.tensor([9, 5000], on: device)
      try device.sinkhorn(logits, temperature: 0.1, iterations: 3, into: logits)
      let pairs = TargetPairs.patches(weights: [Float](repeating: 1, count: 9), images: 2)
      let entropy = try device.softCrossEntropy(logits, targets: logits, pairs: pairs, temperature: 0.1, scale: 1, gradient: nil)
      let numbers = gradient.floatArray() + logits.floatArray() + [Float(value), Float(entropy)]
      if let first { #expect(first == numbers) } else { first = numbers }
    }
  }

  @Test func gridsOfTheSameSizeStayAndConstantsToo() throws {
    for device in try trainingDevices() {
      var random = SeededGenerator(37)
      let tokens = try random.tensor([2, 12, 3], on: device)
      let same = try device.zeros([2, 12, 3])
      device.resizeTokens(tokens, rows: 3, columns: 4, toRows: 3, toColumns: 4, into: same)
      #expect(same.floatArray() == tokens.floatArray())
      let constant = try device.tensor([Float](repeating: 2.5, count: 36), [1, 12, 3])
      let resized = try device.zeros([1, 35, 3])
      device.resizeTokens(constant, rows: 3, columns: 4, toRows: 5, toColumns: 7, into: resized)
      #expect(resized.floatArray().allSatisfy { abs($0 - 2.5) < 1e-6 })
    }
  }
}
