//! The tables, as both databases have them.

diesel::table! {
    meta (key) { key -> Text, value -> Text, }
}
diesel::table! {
    pool (name) {
        name -> Text,
        provider -> Text,
        image -> Text,
        size -> BigInt,
        labels -> Text,
        problem -> Nullable<Text>,
        uids -> Text,
        after_use -> Text,
        losses_accepted_until -> Nullable<BigInt>,
        spare -> BigInt,
        grace -> BigInt,
        home -> Nullable<Text>,
        sizes -> Text,
        service -> Nullable<Text>,
    }
}
diesel::table! {
    machine (id) {
        id -> Text,
        name -> Text,
        host -> Text,
        port -> BigInt,
        labels -> Text,
        pool -> Nullable<Text>,
        created_at -> BigInt,
        incarnation -> Nullable<Text>,
        credential -> Nullable<Text>,
        next_uid -> BigInt,
        generation -> BigInt,
        seen_generation -> BigInt,
        seen_at -> Nullable<BigInt>,
        problem -> Nullable<Text>,
        facts -> Text,
        cordoned_at -> Nullable<BigInt>,
        retired_at -> Nullable<BigInt>,
        aside_until -> Nullable<BigInt>,
        aside_why -> Nullable<Text>,
        failures -> BigInt,
        gone_at -> Nullable<BigInt>,
        uids -> Text,
        session -> Nullable<Text>,
        former_sessions -> Text,
        challenge -> Nullable<BigInt>,
        has_returned -> BigInt,
        quarantined -> Nullable<Text>,
        follows -> Text,
        listing -> Nullable<Text>,
        listed_address -> Nullable<Text>,
    }
}
diesel::table! {
    reservation (id) {
        id -> Text,
        username -> Text,
        count -> BigInt,
        labels -> Text,
        named -> BigInt,
        account -> Text,
        created_at -> BigInt,
        expires_at -> BigInt,
        ended_at -> Nullable<BigInt>,
        ended_by -> Nullable<Text>,
        reason -> Nullable<Text>,
        sudo -> BigInt,
        on_failure -> Text,
        account_id -> Nullable<Text>,
        account_name -> Nullable<Text>,
    }
}
diesel::table! {
    assignment (id) {
        id -> Text,
        reservation_id -> Text,
        machine_id -> Text,
        uid -> BigInt,
        created_at -> BigInt,
        ready_at -> Nullable<BigInt>,
        refused_at -> Nullable<BigInt>,
        given_up_at -> Nullable<BigInt>,
        cleaned_at -> Nullable<BigInt>,
        attempts -> BigInt,
        last_error -> Nullable<Text>,
        cleaning -> Nullable<Text>,
    }
}
diesel::table! {
    join_token (digest) { digest -> Text, machine_id -> Text, expires_at -> BigInt, credential -> Nullable<Text>, }
}
diesel::table! {
    idempotency (key) { key -> Text, request -> Text, resource -> Text, created_at -> BigInt, }
}
diesel::table! {
    event (seq) {
        seq -> BigInt,
        at -> BigInt,
        kind -> Text,
        machine -> Nullable<Text>,
        reservation -> Nullable<Text>,
        detail -> Text,
        actor -> Text,
        source -> Nullable<Text>,
        hash -> Text,
    }
}
diesel::table! {
    account (id) {
        id -> Text,
        name -> Text,
        email -> Nullable<Text>,
        role -> Text,
        password_hash -> Nullable<Text>,
        ssh_keys -> Text,
        quota -> Text,
        created_at -> BigInt,
        disabled_at -> Nullable<BigInt>,
        deleted_at -> Nullable<BigInt>,
        number -> BigInt,
        full_name -> Nullable<Text>,
    }
}
diesel::table! {
    token (id) {
        id -> Text,
        account_id -> Text,
        digest -> Text,
        kind -> Text,
        name -> Text,
        scope -> Text,
        created_at -> BigInt,
        expires_at -> BigInt,
        last_used_at -> Nullable<BigInt>,
        revoked_at -> Nullable<BigInt>,
    }
}
diesel::table! {
    ssh_access (machine_id) {
        machine_id -> Text,
        username -> Text,
        auth -> Text,
        key_file -> Nullable<Text>,
        sealed -> Text,
        host_key -> Nullable<Text>,
        awaited_host_key -> Nullable<Text>,
        offered_host_key -> Nullable<Text>,
        jump -> Nullable<Text>,
        failures -> BigInt,
        tried_at -> Nullable<BigInt>,
        error -> Nullable<Text>,
        adopt_server -> Nullable<Text>,
        agent_installed_at -> Nullable<BigInt>,
        adopted_at -> Nullable<BigInt>,
        release_asked_at -> Nullable<BigInt>,
        adopt_failures -> BigInt,
        adopt_tried_at -> Nullable<BigInt>,
        adopt_error -> Nullable<Text>,
        adopt_ca -> Nullable<Text>,
    }
}
diesel::table! {
    claim (thing) { thing -> Text, server -> BigInt, fence -> BigInt, }
}
diesel::joinable!(assignment -> machine (machine_id));
diesel::joinable!(assignment -> reservation (reservation_id));
diesel::joinable!(token -> account (account_id));
diesel::allow_tables_to_appear_in_same_query!(token, account);
diesel::allow_tables_to_appear_in_same_query!(machine, reservation, assignment, ssh_access, pool);
