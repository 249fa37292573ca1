extension PlaneResizer {
  /// Resizes one slice of labels: a pixel gets the largest label whose resized 0/1 indicator reaches 0.5 there, and 0
  /// when none does. -1 is a label like any other.
  ///
  /// Shapes: as `resize`.
  public func resizeLabels(
    _ plane: UnsafePointer<Int16>, into out: UnsafeMutablePointer<Int16>, scratch: UnsafeMutablePointer<Double>
  ) {
    if isIdentity { return out.update(from: plane, count: rows * columns) }
    switch order {
    case 0: nearestLabels(plane, out)
    case 1: linearLabels(plane, out)
    default: splineLabels(plane, out, scratch)
    }
  }

  private func nearestLabels(_ plane: UnsafePointer<Int16>, _ out: UnsafeMutablePointer<Int16>) {
    for row in 0..<newRows {
      let line = plane + Int(rowAxis.first[row]) * columns
      let target = out + row * newColumns
      for column in 0..<newColumns { target[column] = line[Int(columnAxis.first[column])] }
    }
  }

  /// Only the four neighbours of a pixel can reach 0.5 there, so no indicator planes are needed; sums run in the same
  /// order as resizing columns first and rows second.
  private func linearLabels(_ plane: UnsafePointer<Int16>, _ out: UnsafeMutablePointer<Int16>) {
    for row in 0..<newRows {
      let upper = plane + Int(rowAxis.first[row]) * columns
      let lower = plane + Int(rowAxis.second[row]) * columns
      let (v0, v1) = (rowAxis.weights[2 * row], rowAxis.weights[2 * row + 1])
      let target = out + row * newColumns
      for column in 0..<newColumns {
        let (i, j) = (Int(columnAxis.first[column]), Int(columnAxis.second[column]))
        let (a, b, c, d) = (upper[i], upper[j], lower[i], lower[j])
        if a == b, b == c, c == d {
          target[column] = a
          continue
        }
        let (h0, h1) = (columnAxis.weights[2 * column], columnAxis.weights[2 * column + 1])
        func vote(_ label: Int16, _ best: Int32) -> Int32 {
          let top = (a == label ? h0 : 0) + (b == label ? h1 : 0)
          let bottom = (c == label ? h0 : 0) + (d == label ? h1 : 0)
          return v0 * top + v1 * bottom >= 0.5 ? max(best, Int32(label)) : best
        }
        let none = Int32.min
        let best = vote(d, vote(c, vote(b, vote(a, none))))
        target[column] = best == none ? 0 : Int16(truncatingIfNeeded: best)
      }
    }
  }

  private func splineLabels(
    _ plane: UnsafePointer<Int16>, _ out: UnsafeMutablePointer<Int16>, _ scratch: UnsafeMutablePointer<Double>
  ) {
    let (inputWidth, width) = (columns, newColumns)
    out.update(repeating: 0, count: newRows * width)
    for label in LabelSet(plane, count: rows * columns).ascending {
      produceRows(scratch: scratch) { row, line in
        let source = plane + row * inputWidth
        for j in 0..<inputWidth { line[j] = source[j] == label ? 1 : 0 }
      } emit: { row, line in
        let target = out + row * width
        for j in 0..<width where line[j] >= 0.5 { target[j] = label }
      }
    }
  }
}

/// The distinct values of a 16-bit array.
struct LabelSet {
  private var words = [UInt64](repeating: 0, count: 1024)

  init(_ values: UnsafePointer<Int16>, count: Int) {
    words.withUnsafeMutableBufferPointer { words in
      for index in 0..<count {
        let bit = Int(values[index]) + 32768
        words[bit >> 6] |= 1 << UInt64(bit & 63)
      }
    }
  }

  var ascending: [Int16] {
    var result: [Int16] = []
    for (index, word) in words.enumerated() where word != 0 {
      for bit in 0..<64 where word >> UInt64(bit) & 1 == 1 { result.append(Int16(index * 64 + bit - 32768)) }
    }
    return result
  }
}
