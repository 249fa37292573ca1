internal import Platform
internal import Tensors
internal import Training
public import WeightFiles

/// Where a run stands, apart from its tensors.
struct LoopState {
  var step = 0
  var epoch = 0
  /// Number of the next training batch.
  var position = 0
  var sums = EpochSums()
  var moving = MovingScore(skipsUndefined: true)
  var early = EarlyStop()
  var history = MetricsHistory()

  /// Notes the end of an epoch and goes on to the next.
  mutating func endEpoch(_ validation: ValidationMetrics?, _ settings: FineTuningSettings) -> EpochMetrics {
    let average = validation.map { moving.add($0.meanDice) } ?? .nan
    let isBest = validation != nil && early.isBest(average)
    let loss = sums.meanLoss
    let result = EpochMetrics(
      epoch: epoch, step: step, trainingLoss: loss, gradientNorm: sums.mean(sums.gradientNorm), learningRate: sums.learningRate,
      validation: validation, movingDice: average, bestMovingDice: early.best ?? .nan, isBest: isBest,
      isFinished: epoch + 1 >= settings.recipe.epochs || (validation != nil && early.shouldStop), seconds: sums.seconds)
    history.append(MetricsRecord(.epoch, step: step, epoch: epoch, values: result.values))
    epoch += 1
    sums = EpochSums()
    return result
  }
}

/// Running sums of the current epoch.
struct EpochSums: Equatable {
  var count = 0
  var total = 0.0
  var crossEntropy = 0.0
  var dice = 0.0
  var gradientNorm = 0.0
  var learningRate = 0.0
  var seconds = 0.0

  mutating func add(_ step: StepMetrics) {
    count += 1
    total += step.loss.total
    crossEntropy += step.loss.crossEntropy
    dice += step.loss.dice
    gradientNorm += step.gradientNorm
    learningRate = step.learningRate
    seconds += step.seconds
  }
  func mean(_ sum: Double) -> Double { count == 0 ? .nan : sum / Double(count) }
  var meanLoss: SegmentationLoss {
    SegmentationLoss(total: mean(total), crossEntropy: mean(crossEntropy), dice: mean(dice))
  }

  var json: JSON {
    .object(
      ("count", .integer(count)), ("total", .number(total)), ("cross_entropy", .number(crossEntropy)), ("dice", .number(dice)),
      ("gradient_norm", .number(gradientNorm)), ("learning_rate", .number(learningRate)), ("seconds", .number(seconds)))
  }
  init() {}
  init?(_ json: JSON) {
    guard let count = CheckpointState.count(json["count"]), let total = json["total"]?.doubleValue,
      let crossEntropy = json["cross_entropy"]?.doubleValue, let dice = json["dice"]?.doubleValue,
      let gradientNorm = json["gradient_norm"]?.doubleValue, let learningRate = json["learning_rate"]?.doubleValue,
      let seconds = json["seconds"]?.doubleValue
    else { return nil }
    self.count = count
    self.total = total
    self.crossEntropy = crossEntropy
    self.dice = dice
    self.gradientNorm = gradientNorm
    self.learningRate = learningRate
    self.seconds = seconds
  }
}

extension EpochMetrics {
  /// The values of a record, as plots and JSON lines have them.
  public var values: JSONObject {
    var object = JSONObject([
      ("train_loss", .number(trainingLoss.total)), ("cross_entropy", .number(trainingLoss.crossEntropy)),
      ("dice_loss", .number(trainingLoss.dice)), ("gradient_norm", .number(gradientNorm)), ("learning_rate", .number(learningRate)),
      ("seconds", .number(seconds)),
    ])
    if let validation {
      object["validation_loss"] = .number(validation.loss)
      object["dice_per_class"] = .numbers(validation.dice)
      object["mean_dice"] = .number(validation.meanDice)
      object["ema_dice"] = .number(movingDice)
      object["best_ema_dice"] = .number(bestMovingDice)
    }
    return object
  }
}

extension SegmentationLoss {
  mutating func add(_ other: SegmentationLoss, weight: Double) {
    total += weight * other.total
    crossEntropy += weight * other.crossEntropy
    dice += weight * other.dice
  }
}
