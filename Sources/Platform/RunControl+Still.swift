extension RunControl {
  /// The part [from, to] of the current stage, for work that goes from 0 to 1 and names no stage.
  public func part(_ from: Double, _ to: Double) -> RunControl {
    branch { [self] fraction, _ in
      do throws(MedDINOError) { try update(from + (to - from) * fraction) } catch { return false }
      return true
    }
  }

  /// A control for a part of the work that is too short to show: a stop reaches it, its own progress goes nowhere.
  ///
  /// `fraction`: what is reported of the current stage meanwhile.
  public func still(at fraction: Double) -> RunControl {
    RunControl { [self] _, _ in
      do throws(MedDINOError) { try update(fraction) } catch { return false }
      return true
    }
  }
}
