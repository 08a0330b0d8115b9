# Typeform, "Webhooks: example payload".
.form_response as $r
| def answer: if has("boolean") then .boolean else .text // .email // .url // .phone_number // .date // .file_url // .choice?.label // .choice?.other // (if has("choices") then .choices.labels else null end)
    // (if has("number") then .number else .payment?.amount end) end;
  ([$r.definition?.fields?[]? | {key: .id, value: .title}] | from_entries) as $titles
| {
    event: .event_type,
    id: .event_id,
    title: maybe($r.definition?.title?),
    form: maybe($r.form_id?),
    actor: maybe(([$r.answers?[]? | select(.type == "email") | .email] | first) // $r.hidden?.email?),
    url: maybe($r.response_url?),
    submitted_at: maybe($r.submitted_at?),
    score: maybe($r.calculated?.score?),
    hidden: maybe($r.hidden?),
    answers: maybe([$r.answers?[]? | {question: ($titles[.field.id] // .field.ref), ref: .field.ref, type, answer: answer}]),
    text: maybe([$r.answers?[]? | "\($titles[.field.id] // .field.ref): \(answer | if type == "array" then join(", ") else tostring end)"] | join("\n") | short)
  }
| compact
