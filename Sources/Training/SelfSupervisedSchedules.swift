public import Platform
public import WeightFiles

/// The five schedules of self-supervised pretraining, from a configuration with the official keys.
///
/// Source: model specification 10; keys that are absent have the defaults of 10.3.
public struct SelfSupervisedSchedules: Equatable, Sendable {
  public let learningRate: Schedule
  public let weightDecay: Schedule
  /// Momentum of the teacher's moving average.
  public let momentum: Schedule
  public let teacherTemperature: Schedule
  public let lastLayerLearningRate: Schedule

  /// `configuration`: sections `train`, `optim`, `teacher` and, for the second form, `schedules`. `ranks`: processes, each with
  /// `train.batch_size_per_gpu` images per step.
  /// Throws: `.invalid` naming the key for values of the wrong kind or out of range and for phases longer than the run.
  public init(_ configuration: JSON, ranks: Int = 1) throws(MedDINOError) {
    let reader = ScheduleReader(configuration)
    let epochLength = try reader.integer("train", "OFFICIAL_EPOCH_LENGTH", 1250)
    let epochs = try reader.integer("optim", "epochs", 100)
    let steps = try Checked.product([epochs, epochLength], "optim.epochs", kind: .invalid)
    let perRank = try reader.integer("train", "batch_size_per_gpu", 64)
    let images = try Checked.product([perRank, ranks], "train.batch_size_per_gpu", kind: .invalid)
    let rule = try reader.text("optim", "scaling_rule", "sqrt_wrt_1024")
    let factor = Self.rateFactor(rule: rule, images: images)
    if let section = configuration["schedules"], !section.isNull {
      func phase(_ name: String) throws(MedDINOError) -> PhaseReader {
        try PhaseReader(section, name, epochLength: epochLength, epochs: epochs)
      }
      let learning = try phase("lr")
      learningRate = try learning.schedule(steps: steps, in: Self.rates, peakFactor: factor)
      let freeze = try learning.count("freeze_last_layer_epochs", 0)
      lastLayerLearningRate = learningRate.frozen(first: freeze)
      weightDecay = try phase("weight_decay").schedule(steps: steps, in: Self.rates)
      momentum = try phase("momentum").schedule(steps: steps, in: 0...1)
      teacherTemperature = try phase("teacher_temp").schedule(steps: steps, in: Self.temperatures)
      return
    }
    let truncation = try reader.number("optim", "schedule_trunc_extra", 0)
    func count(_ section: String, _ key: String, _ standard: Int) throws(MedDINOError) -> Int {
      try Checked.product([try reader.integer(section, key, standard), epochLength], "\(section).\(key)", kind: .invalid)
    }
    try Self.checkPhases("optim", warmup: try reader.integer("optim", "warmup_epochs", 10), cosine: nil, epochs: epochs)
    learningRate = try .version1(
      base: try reader.number("optim", "lr", 1e-3, in: Self.rates) * factor,
      final: try reader.number("optim", "min_lr", 1e-6, in: Self.rates), steps: steps,
      warmup: try count("optim", "warmup_epochs", 10), truncation: truncation)
    lastLayerLearningRate = learningRate.frozen(first: try count("optim", "freeze_last_layer_epochs", 1))
    weightDecay = try .version1(
      base: try reader.number("optim", "weight_decay", 0.04, in: Self.rates),
      final: try reader.number("optim", "weight_decay_end", 0.4, in: Self.rates), steps: steps, truncation: truncation)
    momentum = try .version1(
      base: try reader.number("teacher", "momentum_teacher", 0.992, in: 0...1),
      final: try reader.number("teacher", "final_momentum_teacher", 1, in: 0...1), steps: steps, truncation: truncation)
    let warm = try count("teacher", "warmup_teacher_temp_epochs", 30)
    let temperature = try reader.number("teacher", "teacher_temp", 0.07, in: Self.temperatures)
    teacherTemperature = try .version1(
      base: temperature, final: temperature, steps: warm, warmup: warm,
      start: try reader.number("teacher", "warmup_teacher_temp", 0.04, in: Self.temperatures))
  }

  private static let rates = 0...1e9
  private static let temperatures = 1e-4...1e4

  /// Whether a warm-up and a cosine fit into a run; `path`: of the keys, without their names. Units: epochs.
  /// Throws: `.invalid` naming the keys.
  public static func checkPhases(_ path: String, warmup: Int, cosine: Int?, epochs: Int) throws(MedDINOError) {
    guard warmup > epochs || (cosine ?? 0) > epochs - warmup else { return }
    let phase = cosine.map { "\(path).warmup_epochs is \(warmup) and cosine_epochs \($0)" } ?? "\(path).warmup_epochs is \(warmup)"
    throw .invalid("\(phase), expected a warm-up\(cosine == nil ? "" : " and a cosine") within the run's \(epochs) epochs (optim.epochs)")
  }

  /// Factor on the learning rate for `images` in a step over all ranks. Rules that are not named leave the rate as it is.
  public static func rateFactor(rule: String, images: Int) -> Double {
    switch rule {
    case "sqrt_wrt_1024": 4 * (Double(images) / 1024).squareRoot()
    case "linear_wrt_256": Double(images) / 256
    default: 1
    }
  }
}

private struct ScheduleReader {
  let configuration: JSON
  init(_ configuration: JSON) { self.configuration = configuration }

  private func found(_ section: String, _ key: String) -> JSON? {
    let value = configuration[section]?[key]
    return value == .null ? nil : value
  }
  func number(
    _ section: String, _ key: String, _ standard: Double, in range: ClosedRange<Double>? = nil
  ) throws(MedDINOError) -> Double {
    guard let value = found(section, key) else { return standard }
    guard let number = value.doubleValue, number.isFinite else {
      throw .invalid("\(section).\(key) is \(value.text()), expected a finite number")
    }
    if let range, !range.contains(number) {
      throw .invalid("\(section).\(key) is \(value.text()), expected \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }
  func integer(_ section: String, _ key: String, _ standard: Int) throws(MedDINOError) -> Int {
    guard let value = found(section, key) else { return standard }
    guard let number = value.intValue, number >= 0 else {
      throw .invalid("\(section).\(key) is \(value.text()), expected a whole number of at least 0")
    }
    return number
  }
  func text(_ section: String, _ key: String, _ standard: String) throws(MedDINOError) -> String {
    guard let value = found(section, key) else { return standard }
    guard let text = value.stringValue else { throw .invalid("\(section).\(key) is \(value.text()), expected a text") }
    return text
  }
}

/// One entry of the section `schedules`. Source: model specification 10.2.
private struct PhaseReader {
  let reader: ScheduleReader
  let name: String
  let epochLength: Int
  let epochs: Int

  init(_ section: JSON, _ name: String, epochLength: Int, epochs: Int) throws(MedDINOError) {
    guard section[name]?.objectValue != nil else {
      throw .invalid("schedules.\(name) is missing, expected start, peak, end, warmup_epochs")
    }
    reader = ScheduleReader(section)
    self.name = name
    self.epochLength = epochLength
    self.epochs = epochs
  }

  private func required(_ key: String, in range: ClosedRange<Double>) throws(MedDINOError) -> Double {
    guard reader.configuration[name]?[key] != nil else { throw .invalid("schedules.\(name).\(key) is missing, expected a number") }
    do throws(MedDINOError) { return try reader.number(name, key, 0, in: range) } catch {
      throw .invalid("schedules.\(error.message)")
    }
  }
  func count(_ key: String, _ standard: Int) throws(MedDINOError) -> Int {
    try Checked.product([try reader.integer(name, key, standard), epochLength], "schedules.\(name).\(key)", kind: .invalid)
  }

  /// The factor applies to peak and end, not to the start.
  func schedule(steps: Int, in range: ClosedRange<Double>, peakFactor: Double = 1) throws(MedDINOError) -> Schedule {
    let cosine = reader.configuration[name]?["cosine_epochs"] ?? .null
    try SelfSupervisedSchedules.checkPhases(
      "schedules." + name, warmup: try reader.integer(name, "warmup_epochs", 0),
      cosine: cosine.isNull ? nil : try reader.integer(name, "cosine_epochs", 0), epochs: epochs)
    return try .version2(
      start: try required("start", in: range), peak: try required("peak", in: range) * peakFactor,
      end: try required("end", in: range) * peakFactor, steps: steps, warmup: try count("warmup_epochs", 0),
      cosine: cosine.isNull ? nil : try count("cosine_epochs", 0))
  }
}
