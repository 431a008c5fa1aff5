FROM readings WHERE temp IS NULL OR ok
