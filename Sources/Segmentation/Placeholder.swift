// furnished next
