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
  /// Throws: `.invalid` for values of the wrong kind and for phases longer than the run.
  public init(_ configuration: JSON, ranks: Int = 1) throws(MedDINOError) {
    let reader = ScheduleReader(configuration)
    let epochLength = try reader.integer("train", "OFFICIAL_EPOCH_LENGTH", 1250)
    let steps = try Checked.product([try reader.integer("optim", "epochs", 100), epochLength], "optim.epochs", kind: .invalid)
    let perRank = try reader.integer("train", "batch_size_per_gpu", 64)
    let images = try Checked.product([perRank, ranks], "train.batch_size_per_gpu", kind: .invalid)
    let rule = try reader.text("optim", "scaling_rule", "sqrt_wrt_1024")
    let factor = Self.rateFactor(rule: rule, images: images)
    if let section = configuration["schedules"], !section.isNull {
      let learning = try PhaseReader(section, "lr", epochLength: epochLength)
      learningRate = try learning.schedule(steps: steps, peakFactor: factor)
      let freeze = try learning.count("freeze_last_layer_epochs", 0)
      lastLayerLearningRate = learningRate.frozen(first: freeze)
      weightDecay = try PhaseReader(section, "weight_decay", epochLength: epochLength).schedule(steps: steps)
      momentum = try PhaseReader(section, "momentum", epochLength: epochLength).schedule(steps: steps)
      teacherTemperature = try PhaseReader(section, "teacher_temp", epochLength: epochLength).schedule(steps: steps)
      return
    }
    let truncation = try reader.number("optim", "schedule_trunc_extra", 0)
    func count(_ section: String, _ key: String, _ standard: Int) throws(MedDINOError) -> Int {
      try Checked.product([try reader.integer(section, key, standard), epochLength], "\(section).\(key)", kind: .invalid)
    }
    learningRate = try .version1(
      base: try reader.number("optim", "lr", 1e-3) * factor, final: try reader.number("optim", "min_lr", 1e-6), steps: steps,
      warmup: try count("optim", "warmup_epochs", 10), truncation: truncation)
    lastLayerLearningRate = learningRate.frozen(first: try count("optim", "freeze_last_layer_epochs", 1))
    weightDecay = try .version1(
      base: try reader.number("optim", "weight_decay", 0.04), final: try reader.number("optim", "weight_decay_end", 0.4), steps: steps,
      truncation: truncation)
    momentum = try .version1(
      base: try reader.number("teacher", "momentum_teacher", 0.992), final: try reader.number("teacher", "final_momentum_teacher", 1),
      steps: steps, truncation: truncation)
    let warm = try count("teacher", "warmup_teacher_temp_epochs", 30)
    let temperature = try reader.number("teacher", "teacher_temp", 0.07)
    teacherTemperature = try .version1(
      base: temperature, final: temperature, steps: warm, warmup: warm, start: try reader.number("teacher", "warmup_teacher_temp", 0.04))
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
  func number(_ section: String, _ key: String, _ standard: Double) throws(MedDINOError) -> Double {
    guard let value = found(section, key) else { return standard }
    guard let number = value.doubleValue, number.isFinite else {
      throw .invalid("\(section).\(key) is \(value.text()), expected a finite number")
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

  init(_ section: JSON, _ name: String, epochLength: Int) throws(MedDINOError) {
    guard section[name]?.objectValue != nil else {
      throw .invalid("schedules.\(name) is missing, expected start, peak, end, warmup_epochs")
    }
    reader = ScheduleReader(section)
    self.name = name
    self.epochLength = epochLength
  }

  private func required(_ key: String) throws(MedDINOError) -> Double {
    guard reader.configuration[name]?[key] != nil else { throw .invalid("schedules.\(name).\(key) is missing, expected a number") }
    return try reader.number(name, key, 0)
  }
  func count(_ key: String, _ standard: Int) throws(MedDINOError) -> Int {
    try Checked.product([try reader.integer(name, key, standard), epochLength], "schedules.\(name).\(key)", kind: .invalid)
  }

  /// The factor applies to peak and end, not to the start.
  func schedule(steps: Int, peakFactor: Double = 1) throws(MedDINOError) -> Schedule {
    let cosine = reader.configuration[name]?["cosine_epochs"]
    return try .version2(
      start: try required("start"), peak: try required("peak") * peakFactor, end: try required("end") * peakFactor, steps: steps,
      warmup: try count("warmup_epochs", 0), cosine: cosine == nil || cosine == .null ? nil : try count("cosine_epochs", 0))
  }
}
