extension RunControl {
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
