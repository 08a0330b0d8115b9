# Typeform, "Webhooks: example payload".
.form_response as $r
| def answer: .text // .email // .url // .phone_number // .date // .file_url // .choice?.label // .choice?.other // (if has("choices") then .choices.labels else null end)
    // (if has("number") then .number elif has("boolean") then .boolean else null end) // .payment?.amount;
  ([$r.definition?.fields?[]? | {key: .id, value: .title}] | from_entries) as $titles
| {
    event: .event_type,
    id: .event_id,
    title: $r.definition?.title?,
    form: $r.form_id?,
    actor: (([$r.answers?[]? | select(.type == "email") | .email] | first) // $r.hidden?.email?),
    url: $r.response_url?,
    submitted_at: $r.submitted_at?,
    score: $r.calculated?.score?,
    hidden: $r.hidden?,
    answers: [$r.answers?[]? | {question: ($titles[.field.id] // .field.ref), ref: .field.ref, type, answer: answer}],
    text: ([$r.answers?[]? | "\($titles[.field.id] // .field.ref): \(answer | if type == "array" then join(", ") else tostring end)"] | join("\n") | short)
  }
| compact
